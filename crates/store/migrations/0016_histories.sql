-- Why support has locked an object, and who of the operator's people did it, is in the audit trail and not in the tenant's history.
UPDATE object_event SET details = json_remove(details, '$.reason') WHERE kind = 'change' AND subject IN ('lock', 'unlock');
UPDATE object_event SET actor = 'support' WHERE actor IN (SELECT access_key FROM api_key WHERE role = 'support');
