-- The last change of a topic that changes all the time stands for those before it: the next one takes its place. The topic, while that is so.
ALTER TABLE object_event ADD COLUMN folds TEXT;
-- Whether the last change of a topic is in the history.
ALTER TABLE flap ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
-- Only routes wait.
INSERT INTO object_event (object_id, at, kind, subject, fault, details)
    SELECT object_id, at, kind, json_extract(last, '$.subject'), json_extract(last, '$.fault'), coalesce(json_extract(last, '$.details'), '{}')
    FROM flap WHERE untold > 0 AND topic NOT LIKE '% routes';
DELETE FROM flap WHERE topic NOT LIKE '% routes';
