-- The forwarding lease (docs/fleet.md): `lease_epoch`, which was there before, is the epoch of the node's configuration.
-- Since when it is being replaced; NULL: it is not.
ALTER TABLE node ADD COLUMN lease_replaced_since INTEGER;
-- All terms that it was sent since those that it has acknowledged, the oldest first (JSON); empty: it needs no lease.
ALTER TABLE node ADD COLUMN lease_terms TEXT NOT NULL DEFAULT '[]';
-- The number of the newest terms so far.
ALTER TABLE node ADD COLUMN lease_number INTEGER NOT NULL DEFAULT 0;
-- The number of those that it has acknowledged; NULL: none.
ALTER TABLE node ADD COLUMN lease_acknowledged INTEGER;
