-- What happened to an object, bounded per object (the newest 200 stay); goes with it.
CREATE TABLE object_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    object_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('status', 'tunnel', 'session', 'change')),
    subject TEXT NOT NULL,
    -- The access key of whoever changed it.
    actor TEXT,
    fault TEXT,
    details TEXT NOT NULL
) STRICT;
CREATE INDEX object_event_object ON object_event (object_id, seq);

CREATE TRIGGER object_event_bounded AFTER INSERT ON object_event BEGIN
    DELETE FROM object_event WHERE object_id = NEW.object_id AND seq <= (
        SELECT seq FROM object_event WHERE object_id = NEW.object_id ORDER BY seq DESC LIMIT 1 OFFSET 200
    );
END;
CREATE TRIGGER connection_forgotten AFTER DELETE ON connection BEGIN
    DELETE FROM object_event WHERE object_id = OLD.id;
END;
CREATE TRIGGER vpn_gateway_forgotten AFTER DELETE ON vpn_gateway BEGIN
    DELETE FROM object_event WHERE object_id = OLD.id;
END;
