-- What the operator manages: prices, quotas, and what tenants are billed for.

-- Millionths of the currency per hour.
ALTER TABLE gateway_type ADD COLUMN price_per_hour INTEGER NOT NULL DEFAULT 0 CHECK (price_per_hour >= 0);

-- Only what differs from the default.
CREATE TABLE project_quota (
    project_id BLOB NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    resource TEXT NOT NULL,
    quota INTEGER NOT NULL CHECK (quota >= 0),
    PRIMARY KEY (project_id, resource)
) STRICT, WITHOUT ROWID;

-- How many objects of a kind a project has, counted by the database, so that a quota costs one look however many there are.
CREATE TABLE project_usage (
    project_id BLOB NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    resource TEXT NOT NULL,
    used INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (project_id, resource)
) STRICT, WITHOUT ROWID;

INSERT INTO project_usage SELECT project_id, 'vpcs', count(*) FROM vpc GROUP BY project_id;
INSERT INTO project_usage SELECT project_id, 'private_networks', count(*) FROM private_network GROUP BY project_id;
INSERT INTO project_usage SELECT project_id, 'vpn_gateways', count(*) FROM vpn_gateway WHERE gone_at IS NULL GROUP BY project_id;
INSERT INTO project_usage SELECT project_id, 'connections', count(*) FROM connection GROUP BY project_id;
INSERT INTO project_usage SELECT project_id, 'customer_gateways', count(*) FROM customer_gateway GROUP BY project_id;
INSERT INTO project_usage SELECT project_id, 'routing_policies', count(*) FROM routing_policy GROUP BY project_id;
-- Addresses that a resource brought along and secrets that a connection owns come with those; only what is ordered by itself counts.
INSERT INTO project_usage SELECT project_id, 'ips', count(*) FROM ip WHERE allotted = 0 GROUP BY project_id;
INSERT INTO project_usage SELECT project_id, 'secrets', count(*) FROM secret WHERE owner_connection IS NULL GROUP BY project_id;

CREATE TRIGGER vpc_counted AFTER INSERT ON vpc BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'vpcs', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER vpc_discounted AFTER DELETE ON vpc BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'vpcs';
END;
CREATE TRIGGER private_network_counted AFTER INSERT ON private_network BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'private_networks', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER private_network_discounted AFTER DELETE ON private_network BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'private_networks';
END;
-- A gateway past its deletion's deadline is gone for its tenant.
CREATE TRIGGER vpn_gateway_counted AFTER INSERT ON vpn_gateway BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'vpn_gateways', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER vpn_gateway_hidden AFTER UPDATE OF gone_at ON vpn_gateway WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'vpn_gateways';
END;
CREATE TRIGGER vpn_gateway_discounted AFTER DELETE ON vpn_gateway WHEN OLD.gone_at IS NULL BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'vpn_gateways';
END;
CREATE TRIGGER connection_counted AFTER INSERT ON connection BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'connections', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER connection_discounted AFTER DELETE ON connection BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'connections';
END;
CREATE TRIGGER customer_gateway_counted AFTER INSERT ON customer_gateway BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'customer_gateways', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER customer_gateway_discounted AFTER DELETE ON customer_gateway BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'customer_gateways';
END;
CREATE TRIGGER routing_policy_counted AFTER INSERT ON routing_policy BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'routing_policies', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER routing_policy_discounted AFTER DELETE ON routing_policy BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'routing_policies';
END;
CREATE TRIGGER ip_counted AFTER INSERT ON ip WHEN NEW.allotted = 0 BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'ips', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER ip_discounted AFTER DELETE ON ip WHEN OLD.allotted = 0 BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'ips';
END;
CREATE TRIGGER secret_counted AFTER INSERT ON secret WHEN NEW.owner_connection IS NULL BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'secrets', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER secret_discounted AFTER DELETE ON secret WHEN OLD.owner_connection IS NULL BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'secrets';
END;

-- What is billed. It refers to nothing, so that it survives the gateway, its project and its type.
CREATE TABLE usage_record (
    seq INTEGER PRIMARY KEY,
    resource_id BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    organization_id BLOB NOT NULL,
    project_id BLOB NOT NULL,
    region TEXT NOT NULL,
    zone TEXT NOT NULL,
    commercial_type TEXT NOT NULL,
    -- As agreed when it was ordered.
    price_per_hour INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX usage_record_started ON usage_record (started_at);
CREATE INDEX usage_record_project ON usage_record (project_id, started_at);

INSERT INTO usage_record (resource_id, kind, name, organization_id, project_id, region, zone, commercial_type, price_per_hour, started_at, ended_at)
SELECT id, 'vpn_gateway', name, organization_id, project_id, region, zone, gateway_type, 0, created_at, deleting_since FROM vpn_gateway;

CREATE TRIGGER vpn_gateway_billed AFTER INSERT ON vpn_gateway BEGIN
    INSERT INTO usage_record (resource_id, kind, name, organization_id, project_id, region, zone, commercial_type, price_per_hour, started_at)
    SELECT NEW.id, 'vpn_gateway', NEW.name, NEW.organization_id, NEW.project_id, NEW.region, NEW.zone, NEW.gateway_type,
        gateway_type.price_per_hour, NEW.created_at
    FROM gateway_type WHERE gateway_type.name = NEW.gateway_type;
END;
CREATE TRIGGER vpn_gateway_renamed AFTER UPDATE OF name ON vpn_gateway BEGIN
    UPDATE usage_record SET name = NEW.name WHERE resource_id = NEW.id;
END;
-- Billing ends when the tenant deletes, however long the node takes.
CREATE TRIGGER vpn_gateway_unbilled AFTER UPDATE OF deleting_since ON vpn_gateway WHEN NEW.deleting_since IS NOT NULL BEGIN
    UPDATE usage_record SET ended_at = NEW.deleting_since WHERE resource_id = NEW.id AND ended_at IS NULL;
END;
