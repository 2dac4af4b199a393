-- Whose object a change was about. Records of what no longer exists, and of what belongs to no project, have none.
ALTER TABLE audit_record ADD COLUMN project_id BLOB;
UPDATE audit_record SET project_id = CASE resource
    WHEN 'vpc' THEN (SELECT project_id FROM vpc WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'private_network' THEN (SELECT project_id FROM private_network WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'secret' THEN (SELECT project_id FROM secret WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'vpn_gateway' THEN (SELECT project_id FROM vpn_gateway WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'customer_gateway' THEN (SELECT project_id FROM customer_gateway WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'routing_policy' THEN (SELECT project_id FROM routing_policy WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'connection' THEN (SELECT project_id FROM connection WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'ip' THEN (SELECT project_id FROM ip WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'project' THEN (SELECT id FROM project WHERE id = unhex(replace(resource_id, '-', '')))
    WHEN 'api_key' THEN (SELECT project_id FROM api_key WHERE access_key = resource_id)
END;
CREATE INDEX audit_record_project ON audit_record (project_id, seq);
CREATE INDEX audit_record_access_key ON audit_record (access_key, seq);
