-- A connection may have several earlier keys within their windows: a change that the device has not followed yet must not take away the key
-- that it has. Newer ones have greater numbers.
CREATE TABLE earlier_key (
    number INTEGER PRIMARY KEY,
    connection_id BLOB NOT NULL REFERENCES connection (id) ON DELETE CASCADE,
    -- An envelope.
    data BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT;
INSERT INTO earlier_key (connection_id, data, until) SELECT connection_id, data, until FROM previous_key;
DROP TABLE previous_key;
ALTER TABLE earlier_key RENAME TO previous_key;
CREATE INDEX previous_key_connection ON previous_key (connection_id, number);
CREATE INDEX previous_key_until ON previous_key (until);
