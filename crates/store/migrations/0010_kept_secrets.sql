-- A connection's own secret that another connection uses stays when the first is deleted, and is the tenant's own from then on.
CREATE TRIGGER secret_kept AFTER UPDATE OF owner_connection ON secret WHEN OLD.owner_connection IS NOT NULL AND NEW.owner_connection IS NULL BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'secrets', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
UPDATE secret SET owner_connection = NULL
WHERE owner_connection IS NOT NULL AND NOT EXISTS (SELECT 1 FROM connection WHERE id = secret.owner_connection);
