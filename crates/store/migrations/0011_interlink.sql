-- InterLink: the catalogue that the operator keeps, links with what they take of it, and their routing policies.

CREATE TABLE link_bandwidth (
    bandwidth_mbps INTEGER PRIMARY KEY CHECK (bandwidth_mbps > 0),
    -- Millionths of the currency.
    price_per_hour INTEGER NOT NULL CHECK (price_per_hour >= 0)
) STRICT;

CREATE TABLE pop (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    city TEXT NOT NULL,
    address TEXT NOT NULL,
    hosting_provider_name TEXT NOT NULL,
    logo_url TEXT NOT NULL,
    link_bandwidths_mbps TEXT NOT NULL,
    capacity_mbps INTEGER
) STRICT;

CREATE TABLE partner (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    contact_email TEXT NOT NULL,
    logo_url TEXT NOT NULL,
    portal_url TEXT NOT NULL,
    asn INTEGER NOT NULL,
    l3_connectivity INTEGER NOT NULL,
    notify INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Whose links a partner's key shows.
ALTER TABLE api_key ADD COLUMN partner_id BLOB REFERENCES partner (id);

CREATE TABLE dedicated_connection (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    project_id BLOB NOT NULL REFERENCES project (id),
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    name_sort TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    pop_id BLOB NOT NULL REFERENCES pop (id),
    bandwidth_mbps INTEGER NOT NULL,
    demarcation_info TEXT,
    vlan_start INTEGER NOT NULL,
    vlan_end INTEGER NOT NULL,
    state TEXT NOT NULL,
    locked INTEGER NOT NULL,
    lock_reason TEXT
) STRICT;
CREATE INDEX dedicated_connection_pop ON dedicated_connection (pop_id);

CREATE TABLE port (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    pop_id BLOB NOT NULL REFERENCES pop (id),
    partner_id BLOB REFERENCES partner (id),
    dedicated_connection_id BLOB UNIQUE REFERENCES dedicated_connection (id),
    attachment TEXT NOT NULL,
    vlan_start INTEGER NOT NULL,
    vlan_end INTEGER NOT NULL,
    capacity_mbps INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((partner_id IS NULL) <> (dedicated_connection_id IS NULL))
) STRICT;
CREATE INDEX port_pop ON port (pop_id);
CREATE INDEX port_partner ON port (partner_id);

CREATE TABLE link_routing_policy (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    project_id BLOB NOT NULL REFERENCES project (id),
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    name_sort TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    is_ipv6 INTEGER NOT NULL,
    prefix_filter_in TEXT NOT NULL,
    prefix_filter_out TEXT NOT NULL
) STRICT;
CREATE INDEX link_routing_policy_project ON link_routing_policy (project_id, created_at);

CREATE TABLE link (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    project_id BLOB NOT NULL REFERENCES project (id),
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    name_sort TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    pop_id BLOB NOT NULL REFERENCES pop (id),
    port_id BLOB NOT NULL REFERENCES port (id),
    partner_id BLOB REFERENCES partner (id),
    pairing_key BLOB UNIQUE,
    connection_id BLOB REFERENCES dedicated_connection (id),
    kind TEXT NOT NULL CHECK (kind IN ('l2_hosted', 'l3_hosted', 'self_hosted')),
    bandwidth_mbps INTEGER NOT NULL REFERENCES link_bandwidth (bandwidth_mbps),
    vlan INTEGER NOT NULL,
    provider_asn INTEGER NOT NULL,
    peer_asn INTEGER NOT NULL,
    ipv4 TEXT NOT NULL,
    ipv6 TEXT NOT NULL,
    vpc_id BLOB REFERENCES vpc (id),
    route_propagation_enabled INTEGER NOT NULL,
    -- Who did what, and when.
    life TEXT NOT NULL,
    lock_reason TEXT,
    -- Copies of what derives from the rest, for filters and order.
    status TEXT NOT NULL,
    bgp_v4_status TEXT NOT NULL,
    bgp_v6_status TEXT NOT NULL,
    tenant_deleted_at INTEGER,
    -- Deleted on both sides: only its id shows it, for a while.
    deleted_at INTEGER,
    -- Up to when reminders were given.
    reminded_at INTEGER NOT NULL,
    -- When time alone changes something; NULL: never.
    due_at INTEGER,
    CHECK ((partner_id IS NULL) = (pairing_key IS NULL)),
    CHECK ((partner_id IS NULL) <> (connection_id IS NULL)),
    CHECK ((connection_id IS NULL) = (kind <> 'self_hosted'))
) STRICT;
CREATE INDEX link_project ON link (project_id, created_at);
CREATE INDEX link_partner ON link (partner_id, created_at);
CREATE INDEX link_connection ON link (connection_id);
CREATE INDEX link_vpc ON link (vpc_id);
CREATE INDEX link_pop ON link (pop_id);
CREATE INDEX link_port ON link (port_id);
CREATE INDEX link_bandwidth_used ON link (bandwidth_mbps);
CREATE INDEX link_due ON link (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE link_session (
    link_id BLOB NOT NULL REFERENCES link (id) ON DELETE CASCADE,
    is_ipv6 INTEGER NOT NULL,
    routing_policy_id BLOB NOT NULL REFERENCES link_routing_policy (id),
    since INTEGER NOT NULL,
    PRIMARY KEY (link_id, is_ipv6)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_session_policy ON link_session (routing_policy_id);

-- What a link takes of its port, PoP and dedicated connection, and of the blocks that addresses come from, until it is deleted on both
-- sides. Units are the /31s of 169.254.0.0/16 and the /127s of the service's own /64, counted from 0.
CREATE TABLE link_allocation (
    link_id BLOB PRIMARY KEY REFERENCES link (id) ON DELETE CASCADE,
    port_id BLOB NOT NULL REFERENCES port (id),
    pop_id BLOB NOT NULL REFERENCES pop (id),
    vlan INTEGER NOT NULL,
    bandwidth_mbps INTEGER NOT NULL,
    ipv4_unit INTEGER NOT NULL UNIQUE,
    ipv6_unit INTEGER NOT NULL UNIQUE,
    UNIQUE (port_id, vlan)
) STRICT;
CREATE INDEX link_allocation_pop ON link_allocation (pop_id);

CREATE TRIGGER link_allocation_fits BEFORE INSERT ON link_allocation BEGIN
    SELECT RAISE(ABORT, 'the VLAN id is not one of the port''s') FROM port
    WHERE id = NEW.port_id AND NEW.vlan NOT BETWEEN vlan_start AND vlan_end;
    SELECT RAISE(ABORT, 'the port has not enough bandwidth left') FROM port
    WHERE id = NEW.port_id AND capacity_mbps < NEW.bandwidth_mbps
        + (SELECT coalesce(sum(bandwidth_mbps), 0) FROM link_allocation WHERE port_id = NEW.port_id);
    SELECT RAISE(ABORT, 'the dedicated connection has not enough bandwidth left')
    FROM port JOIN dedicated_connection ON dedicated_connection.id = port.dedicated_connection_id
    WHERE port.id = NEW.port_id AND dedicated_connection.bandwidth_mbps < NEW.bandwidth_mbps
        + (SELECT coalesce(sum(bandwidth_mbps), 0) FROM link_allocation WHERE port_id = NEW.port_id);
    SELECT RAISE(ABORT, 'the PoP has not enough bandwidth left') FROM pop
    WHERE id = NEW.pop_id AND capacity_mbps < NEW.bandwidth_mbps
        + (SELECT coalesce(sum(bandwidth_mbps), 0) FROM link_allocation WHERE pop_id = NEW.pop_id);
END;

CREATE TRIGGER link_ended AFTER UPDATE OF deleted_at ON link WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL BEGIN
    DELETE FROM link_allocation WHERE link_id = NEW.id;
    DELETE FROM link_session WHERE link_id = NEW.id;
    UPDATE project_usage SET used = used - 1 WHERE project_id = NEW.project_id AND resource = 'links';
END;
CREATE TRIGGER link_counted AFTER INSERT ON link BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'links', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER link_discounted AFTER DELETE ON link WHEN OLD.deleted_at IS NULL BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'links';
END;
CREATE TRIGGER link_routing_policy_counted AFTER INSERT ON link_routing_policy BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'link_routing_policies', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER link_routing_policy_discounted AFTER DELETE ON link_routing_policy BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'link_routing_policies';
END;
CREATE TRIGGER dedicated_connection_counted AFTER INSERT ON dedicated_connection BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'dedicated_connections', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER dedicated_connection_discounted AFTER DELETE ON dedicated_connection BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'dedicated_connections';
END;
CREATE TRIGGER link_forgotten AFTER DELETE ON link BEGIN
    DELETE FROM object_event WHERE object_id = OLD.id;
END;

-- Billed from the order until the tenant deletes, whatever the partner does. The zone of a link is its PoP.
CREATE TRIGGER link_billed AFTER INSERT ON link BEGIN
    INSERT INTO usage_record (resource_id, kind, name, organization_id, project_id, region, zone, commercial_type, price_per_hour, started_at)
    SELECT NEW.id, 'link', NEW.name, NEW.organization_id, NEW.project_id, NEW.region, pop.name,
        CASE NEW.kind WHEN 'self_hosted' THEN 'self-hosted ' ELSE 'hosted ' END || NEW.bandwidth_mbps || ' Mbit/s', price_per_hour,
        NEW.created_at
    FROM pop, link_bandwidth WHERE pop.id = NEW.pop_id AND link_bandwidth.bandwidth_mbps = NEW.bandwidth_mbps;
END;
CREATE TRIGGER link_renamed AFTER UPDATE OF name ON link BEGIN
    UPDATE usage_record SET name = NEW.name WHERE resource_id = NEW.id;
END;
CREATE TRIGGER link_unbilled AFTER UPDATE OF tenant_deleted_at ON link WHEN NEW.tenant_deleted_at IS NOT NULL BEGIN
    UPDATE usage_record SET ended_at = NEW.tenant_deleted_at WHERE resource_id = NEW.id AND ended_at IS NULL;
END;
