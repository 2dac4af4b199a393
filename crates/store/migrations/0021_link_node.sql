-- Links on nodes: where a link ends, which configuration of it is owed, what its node said last, and what its sessions ask of the peer.
ALTER TABLE link ADD COLUMN node_id BLOB REFERENCES node (id);
ALTER TABLE link ADD COLUMN config_revision INTEGER NOT NULL DEFAULT 1;
-- Since when the node owes the acknowledgement of the newest configuration; NULL: it does not.
ALTER TABLE link ADD COLUMN pending_since INTEGER;
-- The revision of its node's desired state from which on the link is not part of it; NULL: it is.
ALTER TABLE link ADD COLUMN removing_revision INTEGER;
-- What the node said last: revision, refusal, carrier, sessions and routes.
ALTER TABLE link ADD COLUMN observed TEXT;
-- The last status that was not `configuring`: what notifications start from. NULL: `status`.
ALTER TABLE link ADD COLUMN settled_status TEXT;
-- NULL: the default.
ALTER TABLE link ADD COLUMN hold_time INTEGER;
ALTER TABLE link ADD COLUMN max_prefixes INTEGER;
ALTER TABLE link ADD COLUMN gtsm INTEGER NOT NULL DEFAULT 0;
ALTER TABLE link ADD COLUMN md5_secret_id BLOB REFERENCES secret (id);
ALTER TABLE link ADD COLUMN md5_secret_revision INTEGER;
CREATE INDEX link_node ON link (node_id) WHERE node_id IS NOT NULL;
CREATE INDEX link_owed ON link (pending_since) WHERE pending_since IS NOT NULL;
CREATE INDEX link_md5 ON link (md5_secret_id) WHERE md5_secret_id IS NOT NULL;
