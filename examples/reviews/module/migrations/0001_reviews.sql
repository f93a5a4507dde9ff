-- Orders that are neither confirmed nor cancelled yet.
CREATE TABLE placed_order (
    order_id TEXT PRIMARY KEY,
    buyer TEXT NOT NULL,
    skus TEXT NOT NULL
);

-- Who may review what.
CREATE TABLE purchase (
    buyer TEXT NOT NULL,
    sku_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    PRIMARY KEY (buyer, sku_id)
);

-- One review by each buyer. The number is its place among those of its SKU that can be read; none while it is held back.
CREATE TABLE review (
    sku_id TEXT NOT NULL,
    buyer TEXT NOT NULL,
    number BIGINT,
    stars BIGINT NOT NULL CHECK (stars BETWEEN 1 AND 5),
    text TEXT NOT NULL,
    posted_at BIGINT NOT NULL,
    PRIMARY KEY (sku_id, buyer)
);
CREATE UNIQUE INDEX review_in_order ON review (sku_id, number) WHERE number IS NOT NULL;

CREATE TABLE score (
    sku_id TEXT PRIMARY KEY,
    reviews BIGINT NOT NULL CHECK (reviews > 0),
    stars BIGINT NOT NULL CHECK (stars BETWEEN reviews AND 5 * reviews)
);
