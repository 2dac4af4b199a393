-- What the extension API sets of a connection. NULL: the platform's default, also when that changes. Seconds unless said otherwise.
ALTER TABLE connection ADD COLUMN ike_lifetime INTEGER;
ALTER TABLE connection ADD COLUMN child_lifetime INTEGER;
-- Packets sent.
ALTER TABLE connection ADD COLUMN child_packets INTEGER;
ALTER TABLE connection ADD COLUMN dpd_delay INTEGER;
ALTER TABLE connection ADD COLUMN dpd_timeout INTEGER;
ALTER TABLE connection ADD COLUMN hold_time INTEGER;
ALTER TABLE connection ADD COLUMN max_prefixes INTEGER;
ALTER TABLE connection ADD COLUMN psk_overlap INTEGER;
-- How often the node was asked to reauthenticate, and to end what an earlier key authenticated.
ALTER TABLE connection ADD COLUMN reauthentications INTEGER NOT NULL DEFAULT 0;
ALTER TABLE connection ADD COLUMN revocations INTEGER NOT NULL DEFAULT 0;
