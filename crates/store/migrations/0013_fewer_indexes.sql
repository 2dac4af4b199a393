-- What lists filter by is known in memory: only the tags of secrets, addresses and routes are still read from rows of their own.
DELETE FROM tag WHERE owner IN (
    SELECT id FROM vpc UNION ALL SELECT id FROM private_network UNION ALL SELECT id FROM vpn_gateway UNION ALL SELECT id FROM customer_gateway
    UNION ALL SELECT id FROM routing_policy UNION ALL SELECT id FROM connection
);
DROP INDEX connection_status;
-- A secret that is read by its folder and name.
DROP INDEX secret_project;
CREATE INDEX secret_place ON secret (project_id, path, name);
