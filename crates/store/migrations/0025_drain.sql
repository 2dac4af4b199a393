-- What it carries goes to other nodes.
ALTER TABLE node ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
-- From this revision on its node shall not run it any more, since it goes to another one.
ALTER TABLE vpn_gateway ADD COLUMN leaving_revision INTEGER;
