-- The reason of a link's last status that was not `configuring`, and since when both are as they are; NULL: none, and not noted.
ALTER TABLE link ADD COLUMN settled_reason TEXT;
ALTER TABLE link ADD COLUMN settled_since INTEGER;
