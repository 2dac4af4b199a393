-- The revision from which on the node knows that its gateways may be started elsewhere (NULL: they may not): see docs/fleet.md.
ALTER TABLE node ADD COLUMN failover_revision INTEGER;
-- Taken off a lost node, and not yet in force on another one.
ALTER TABLE vpn_gateway ADD COLUMN failover_since INTEGER;
