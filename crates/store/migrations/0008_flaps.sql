-- What changes too often to be told each time. A row goes when its subject is calm, and with its object.
CREATE TABLE flap (
    object_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    topic TEXT NOT NULL,
    -- Decays with time; what it was at `at`.
    penalty REAL NOT NULL,
    at INTEGER NOT NULL,
    -- Changes that were not told; NULL: all were.
    untold INTEGER,
    -- The last of them.
    last TEXT NOT NULL,
    calm_at INTEGER NOT NULL,
    PRIMARY KEY (object_id, kind, topic)
) STRICT, WITHOUT ROWID;
CREATE INDEX flap_calm ON flap (calm_at);

CREATE TRIGGER connection_calmed AFTER DELETE ON connection BEGIN
    DELETE FROM flap WHERE object_id = OLD.id;
END;
