CREATE TABLE product (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    description TEXT NOT NULL,
    categories TEXT NOT NULL,
    picture TEXT,
    sku_ids TEXT NOT NULL,
    price_min BIGINT NOT NULL CHECK (price_min >= 0),
    withdrawn BIGINT NOT NULL CHECK (withdrawn IN (0, 1)),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1)
);
CREATE INDEX product_by_name ON product (name_key, id);
CREATE INDEX product_by_price ON product (price_min, id);

-- A word of a product's name or of one of its codes, as hexadecimal digits of its UTF-8 text.
CREATE TABLE product_word (
    word TEXT NOT NULL,
    product_id TEXT NOT NULL,
    PRIMARY KEY (word, product_id)
);

CREATE TABLE product_category (
    category TEXT NOT NULL,
    product_id TEXT NOT NULL,
    PRIMARY KEY (category, product_id)
);

CREATE TABLE sku (
    sku_id TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    product_id TEXT NOT NULL,
    options TEXT NOT NULL,
    price_amount BIGINT NOT NULL CHECK (price_amount >= 0),
    price_currency TEXT NOT NULL,
    price_version BIGINT NOT NULL CHECK (price_version >= 1),
    withdrawn BIGINT NOT NULL CHECK (withdrawn IN (0, 1)),
    version BIGINT NOT NULL CHECK (version >= 1)
);
CREATE INDEX sku_by_product ON sku (product_id);

CREATE TABLE price_history (
    sku_id TEXT NOT NULL,
    price_version BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    valid_from BIGINT NOT NULL,
    valid_until BIGINT,
    PRIMARY KEY (sku_id, price_version)
);

CREATE TABLE stock (
    sku_id TEXT PRIMARY KEY,
    on_hand BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    movements BIGINT NOT NULL CHECK (movements >= 0),
    withdrawn BIGINT NOT NULL CHECK (withdrawn IN (0, 1)),
    CHECK (0 <= reserved AND reserved <= on_hand)
);

-- Why there are as many units as there are: `number` is dense per SKU, from 1 to its `stock.movements`.
CREATE TABLE stock_movement (
    sku_id TEXT NOT NULL,
    number BIGINT NOT NULL CHECK (number >= 1),
    kind TEXT NOT NULL CHECK (kind IN ('opening', 'adjustment', 'sale', 'return')),
    quantity BIGINT NOT NULL,
    cause TEXT NOT NULL,
    note TEXT,
    moved_at BIGINT NOT NULL,
    PRIMARY KEY (sku_id, number)
);

CREATE TABLE reservation (
    order_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('open', 'committed', 'released', 'expired', 'refused', 'tombstone')),
    lines TEXT NOT NULL,
    returned TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    refusal TEXT
);

-- Units that came back with a refund: a repeat of the same refund finds its row.
CREATE TABLE restock (
    refund_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    lines TEXT NOT NULL,
    restocked_at BIGINT NOT NULL
);
