-- TEXT and BIGINT only: the same text runs on SQLite and on PostgreSQL. A released migration is never edited.
CREATE TABLE entry (
    entry TEXT PRIMARY KEY,
    version BIGINT NOT NULL CHECK (version >= 1),
    text TEXT NOT NULL,
    written_at BIGINT NOT NULL
);
