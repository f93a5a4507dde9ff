-- One payment per order: what the order wants, what the provider said, what is under way. Amounts are minor units.
CREATE TABLE payment (
    order_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    owner_id TEXT,
    currency TEXT,
    amount BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    provider_intent TEXT,
    intent_open BIGINT NOT NULL,
    held BIGINT NOT NULL,
    captured BIGINT NOT NULL,
    refunded BIGINT NOT NULL,
    refund_pending BIGINT NOT NULL,
    void TEXT NOT NULL,
    in_flight TEXT,
    authorizing TEXT NOT NULL,
    capturing TEXT NOT NULL,
    voiding TEXT NOT NULL,
    reconcile_round BIGINT NOT NULL,
    retry_round BIGINT NOT NULL,
    action_until BIGINT,
    transfers BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (amount >= 0 AND held >= 0 AND captured >= 0 AND refunded >= 0 AND refund_pending >= 0),
    CHECK (refunded + refund_pending <= captured),
    CHECK (held + captured <= amount),
    CHECK (intent_open IN (0, 1)),
    CHECK (void IN ('none', 'cleanup', 'wanted', 'done')),
    CHECK (state IN ('processing', 'requires_action', 'requires_capture', 'succeeded', 'canceled', 'failed', 'expired'))
);
CREATE UNIQUE INDEX payment_id ON payment (payment_id);
CREATE INDEX payment_owner ON payment (owner_id, order_id);
CREATE INDEX payment_state ON payment (state);

CREATE TABLE refund (
    refund_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    for_void BIGINT NOT NULL,
    provider_key TEXT,
    open_transfer TEXT,
    retry_round BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (for_void IN (0, 1)),
    CHECK (state IN ('pending', 'succeeded', 'refused'))
);
CREATE INDEX refund_order ON refund (order_id);

-- The ledger: rows are only ever added. A pending transfer counts in no balance; a later posted or voided one names it.
CREATE TABLE transfer (
    id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    pending_id TEXT,
    refund_id TEXT,
    debit_account TEXT NOT NULL,
    credit_account TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    at BIGINT NOT NULL,
    CHECK (amount > 0),
    CHECK (debit_account <> credit_account),
    CHECK (kind IN ('authorize', 'capture', 'void', 'refund')),
    CHECK (state IN ('pending', 'posted', 'voided'))
);
CREATE UNIQUE INDEX transfer_order ON transfer (order_id, number);
