-- Prices as product last published them, so that placing an order needs no other module.
CREATE TABLE sku_price (
    sku_id TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    unit_price BIGINT NOT NULL CHECK (unit_price >= 0),
    currency TEXT NOT NULL,
    price_version BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL CHECK (withdrawn IN (0, 1))
);

-- An order and its saga. Ids sort by the time of placing, so that lists need no index on it.
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    version BIGINT NOT NULL CHECK (version >= 1),
    state TEXT NOT NULL CHECK (state IN ('placed', 'reserved', 'action_required', 'authorized', 'committed', 'confirmed',
        'cancelling', 'cancelled', 'manual_review', 'refunded')),
    state_since BIGINT NOT NULL,
    attempt BIGINT NOT NULL CHECK (attempt >= 0),
    awaits_void BIGINT NOT NULL CHECK (awaits_void IN (0, 1)),
    awaits_release BIGINT NOT NULL CHECK (awaits_release IN (0, 1)),
    placed_at BIGINT NOT NULL,
    customer_id TEXT,
    customer_reference TEXT,
    currency TEXT NOT NULL,
    total BIGINT NOT NULL CHECK (total > 0),
    captured BIGINT NOT NULL CHECK (captured BETWEEN 0 AND total),
    refunded BIGINT NOT NULL CHECK (refunded >= 0),
    refund_pending BIGINT NOT NULL CHECK (refund_pending >= 0),
    lines TEXT NOT NULL,
    reason TEXT,
    payment_token TEXT,
    shipping_address TEXT,
    -- An order is confirmed exactly while money of it is held, and refunded once none is.
    CHECK (refunded + refund_pending <= captured),
    CHECK (state <> 'confirmed' OR captured > refunded),
    CHECK (state <> 'refunded' OR (captured > 0 AND refunded = captured)),
    CHECK (state IN ('confirmed', 'refunded') OR captured = 0)
);
CREATE INDEX orders_of_customer ON orders (customer_id, id) WHERE customer_id IS NOT NULL;
CREATE INDEX orders_of_reference ON orders (customer_reference, id) WHERE customer_reference IS NOT NULL;
CREATE INDEX orders_in_state ON orders (state, id);

-- What happened to an order: dense from 1, and its newest number is the order's version.
CREATE TABLE timeline (
    order_id TEXT NOT NULL,
    seq BIGINT NOT NULL CHECK (seq >= 1),
    at BIGINT NOT NULL,
    state TEXT NOT NULL,
    event TEXT NOT NULL,
    detail TEXT,
    PRIMARY KEY (order_id, seq)
);

CREATE TABLE refund (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'refused')),
    restock TEXT NOT NULL CHECK (restock IN ('none', 'wanted', 'sent', 'done')),
    amount BIGINT NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    lines TEXT NOT NULL,
    stated_reason TEXT,
    reason TEXT,
    requested_at BIGINT NOT NULL,
    settled_at BIGINT,
    CHECK (state = 'succeeded' OR restock IN ('none', 'wanted')),
    CHECK (restock <> 'wanted' OR state = 'pending')
);
CREATE INDEX refund_of_order ON refund (order_id, id);
