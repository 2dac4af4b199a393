-- Where the node answers other nodes of its zone: address and port.
ALTER TABLE node ADD COLUMN peering TEXT;
