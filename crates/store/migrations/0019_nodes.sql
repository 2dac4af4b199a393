-- Nodes that have joined, beside the one inside the service's own process (`enrolled_at` NULL).
ALTER TABLE node ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE node ADD COLUMN enrolled_at INTEGER;
ALTER TABLE node ADD COLUMN revoked_at INTEGER;
-- Nothing new is placed on it.
ALTER TABLE node ADD COLUMN cordoned INTEGER NOT NULL DEFAULT 0;
-- Why its state is not better.
ALTER TABLE node ADD COLUMN fault TEXT;
-- Waiting for longer than one judging interval.
ALTER TABLE node ADD COLUMN overdue INTEGER NOT NULL DEFAULT 0;
-- Bits per second and connections that it may carry; NULL: no limit.
ALTER TABLE node ADD COLUMN max_bandwidth INTEGER;
ALTER TABLE node ADD COLUMN max_connections INTEGER;

CREATE TABLE node_join_token (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    -- SHA-256 of the secret, which has 256 random bits.
    hash BLOB NOT NULL UNIQUE,
    zone TEXT NOT NULL REFERENCES zone (name),
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    node_id BLOB
) STRICT;

-- What certifies nodes and the controller to each other. `key` is an envelope of the PEM text.
CREATE TABLE node_authority (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    certificate TEXT NOT NULL,
    key BLOB NOT NULL
) STRICT;

-- A gateway without a node: there are nodes, but none has room.
ALTER TABLE vpn_gateway ADD COLUMN no_room INTEGER NOT NULL DEFAULT 0;
