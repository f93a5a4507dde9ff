-- `account`, because `user` is a reserved word in PostgreSQL. What is personal is sealed: see the secrets `user_key/…`.
CREATE TABLE account (
    user_id TEXT PRIMARY KEY,
    email_hash TEXT NOT NULL UNIQUE,
    email_sealed TEXT NOT NULL,
    profile_sealed TEXT NOT NULL,
    roles TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    session_epoch BIGINT NOT NULL CHECK (session_epoch >= 0),
    registered_at BIGINT NOT NULL
);

-- Which account an e-mail address belongs to, by the address's keyed hash.
CREATE TABLE email_owner (
    email_hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE
);

CREATE TABLE session (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    epoch BIGINT NOT NULL CHECK (epoch >= 0),
    generation BIGINT NOT NULL CHECK (generation >= 1),
    opened_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE INDEX session_of_user ON session (user_id);
