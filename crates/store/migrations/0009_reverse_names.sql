-- The names that a tenant gives its addresses.
ALTER TABLE ip ADD COLUMN reverses TEXT NOT NULL DEFAULT '[]';
