-- The gateway node whose machine a port is on; NULL: the one that came first of those that are not revoked.
ALTER TABLE port ADD COLUMN node_id BLOB REFERENCES node (id);
