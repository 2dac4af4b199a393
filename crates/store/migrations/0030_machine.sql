-- The machine that a node spoke from last, for which new terms of its lease are made; NULL: it has not said so yet.
ALTER TABLE node ADD COLUMN lease_machine BLOB;
-- While it is being replaced (lease_replaced_since): by itself on that machine, instead of by other nodes.
ALTER TABLE node ADD COLUMN lease_moving INTEGER NOT NULL DEFAULT 0;
-- Nobody was sent a configuration of lease_epoch yet, and nobody forwards by an earlier one.
ALTER TABLE node ADD COLUMN lease_free INTEGER NOT NULL DEFAULT 0;
-- The machine that answers other nodes at the address `peering`.
ALTER TABLE node ADD COLUMN peering_machine BLOB;
