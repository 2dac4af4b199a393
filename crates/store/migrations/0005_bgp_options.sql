-- The version of a secret whose data sign the connection's BGP sessions (RFC 2385). NULL: unsigned.
ALTER TABLE connection ADD COLUMN md5_secret_id BLOB REFERENCES secret (id);
ALTER TABLE connection ADD COLUMN md5_secret_revision INTEGER;
-- Whether both ends of a session must be neighbours by hop limit (RFC 5082).
ALTER TABLE connection ADD COLUMN gtsm INTEGER NOT NULL DEFAULT 0;
CREATE INDEX connection_md5_secret ON connection (md5_secret_id) WHERE md5_secret_id IS NOT NULL;
