-- Reviews that are held back are counted for the operator.
CREATE INDEX review_held_back ON review (sku_id) WHERE number IS NULL;
