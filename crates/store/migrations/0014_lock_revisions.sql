-- The configuration that a lock came with: until the node has acknowledged it, the lock is not in force. Locks from before count as enforced.
ALTER TABLE vpn_gateway ADD COLUMN lock_revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE connection ADD COLUMN lock_revision INTEGER NOT NULL DEFAULT 0;
