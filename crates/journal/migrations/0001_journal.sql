-- The journal of a module: the same tables in every module's database.

-- One row. Every write transaction moves it, and only where it is what the writer left.
CREATE TABLE head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL,
    log_id TEXT NOT NULL,
    inbox_end BIGINT NOT NULL,
    outbox_end BIGINT NOT NULL,
    last_time BIGINT NOT NULL,
    clean_stop BIGINT NOT NULL,
    writable_from TEXT NOT NULL
);

-- Everything that changed this module, in the order in which it was admitted.
CREATE TABLE inbox (
    position BIGINT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    source TEXT,
    source_position BIGINT,
    causation_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    admitted_at BIGINT NOT NULL,
    traceparent TEXT,
    payload TEXT NOT NULL,
    fingerprint TEXT,
    answer TEXT,
    code_version TEXT NOT NULL
);

-- The log: dense from 1, in commit order. A row is the message.
CREATE TABLE outbox (
    position BIGINT PRIMARY KEY,
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    causation_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    traceparent TEXT,
    payload TEXT NOT NULL
);

CREATE TABLE read_cursor (
    reader TEXT NOT NULL,
    source TEXT NOT NULL,
    log_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    message_id TEXT NOT NULL,
    PRIMARY KEY (reader, source)
);

CREATE TABLE timer (
    key TEXT NOT NULL,
    subject TEXT NOT NULL,
    id TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    causation_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    traceparent TEXT,
    payload TEXT NOT NULL,
    PRIMARY KEY (key, subject)
);
CREATE INDEX timer_due ON timer (due_at);

CREATE TABLE effect (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    deadline_at BIGINT NOT NULL,
    causation_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    traceparent TEXT,
    payload TEXT NOT NULL,
    tries BIGINT NOT NULL,
    try_expires_at BIGINT NOT NULL
);
CREATE INDEX effect_state ON effect (state);

-- What could not be handled, and what waits behind it.
CREATE TABLE dead_letter (
    id TEXT PRIMARY KEY,
    position BIGINT NOT NULL,
    state TEXT NOT NULL,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    input TEXT NOT NULL,
    error TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    died_at BIGINT NOT NULL
);
CREATE INDEX dead_letter_key ON dead_letter (key, position);

-- The attempts made on an input after an unclean stop, so that one that kills the process is found.
CREATE TABLE attempt (
    input_id TEXT PRIMARY KEY,
    attempts BIGINT NOT NULL
);

-- Outside journal, digest and recording.
CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX secret_expires ON secret (expires_at);
