-- Routes that InterLinks learned are in the VPC's table, too. A constraint changes only with its table; the triggers that write into it are made
-- anew after it, as they were.
DROP TRIGGER subnet_routed;
DROP TRIGGER subnet_unrouted;
DROP TRIGGER route_learned;
DROP TRIGGER route_unlearned;

-- Only a tenant's own routes have an id. `resource_id` is the next hop: what holds the address `ip_id`, the VPN gateway, or the link.
CREATE TABLE route_of_more_kinds (
    seq INTEGER PRIMARY KEY,
    id BLOB UNIQUE,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    project_id BLOB NOT NULL REFERENCES project (id),
    region TEXT NOT NULL,
    vpc_id BLOB NOT NULL REFERENCES vpc (id),
    kind TEXT NOT NULL CHECK (kind IN ('subnet', 'custom', 's2s_vpn', 'interlink')),
    description TEXT NOT NULL,
    tags TEXT NOT NULL,
    destination TEXT NOT NULL,
    is_ipv6 INTEGER NOT NULL,
    first BLOB NOT NULL,
    last BLOB NOT NULL,
    prefix_len INTEGER NOT NULL,
    private_network_id BLOB REFERENCES private_network (id),
    resource_id BLOB,
    ip_id BLOB REFERENCES ip (id),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((id IS NULL) = (kind <> 'custom'))
) STRICT;
INSERT INTO route_of_more_kinds (seq, id, organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last, prefix_len,
    private_network_id, resource_id, ip_id, created_at, updated_at)
SELECT seq, id, organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last, prefix_len,
    private_network_id, resource_id, ip_id, created_at, updated_at
FROM route;
DROP TABLE route;
ALTER TABLE route_of_more_kinds RENAME TO route;
CREATE INDEX route_vpc ON route (vpc_id, created_at, seq);
CREATE INDEX route_destination ON route (vpc_id, is_ipv6, first, prefix_len);
CREATE INDEX route_project ON route (project_id, created_at, seq);
CREATE INDEX route_network ON route (private_network_id);
CREATE INDEX route_ip ON route (ip_id) WHERE ip_id IS NOT NULL;
CREATE UNIQUE INDEX route_custom ON route (vpc_id, is_ipv6, first, prefix_len) WHERE kind = 'custom';
CREATE UNIQUE INDEX route_learned ON route (resource_id, is_ipv6, first, prefix_len) WHERE kind = 's2s_vpn';
CREATE UNIQUE INDEX route_linked ON route (resource_id, is_ipv6, first, prefix_len) WHERE kind = 'interlink';

CREATE TRIGGER subnet_routed AFTER INSERT ON subnet BEGIN
    INSERT INTO route (organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last, prefix_len,
        private_network_id, created_at, updated_at)
    SELECT organization_id, project_id, region, NEW.vpc_id, 'subnet', 'Local Private Network route', '["MANAGED"]', NEW.subnet, NEW.is_ipv6,
        NEW.first, NEW.last, CAST(substr(NEW.subnet, instr(NEW.subnet, '/') + 1) AS INTEGER), NEW.private_network_id, NEW.created_at,
        NEW.updated_at
    FROM private_network WHERE id = NEW.private_network_id;
END;
CREATE TRIGGER subnet_unrouted AFTER DELETE ON subnet BEGIN
    DELETE FROM route WHERE kind = 'subnet' AND vpc_id = OLD.vpc_id AND is_ipv6 = OLD.is_ipv6 AND first = OLD.first;
END;
CREATE TRIGGER route_learned AFTER INSERT ON learned_route BEGIN
    INSERT OR IGNORE INTO route (organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last,
        prefix_len, private_network_id, resource_id, created_at, updated_at)
    SELECT network.organization_id, network.project_id, network.region, network.vpc_id, 's2s_vpn', 'Learned Site-to-Site VPN route',
        '["MANAGED"]', NEW.destination, NEW.is_ipv6, NEW.first, NEW.last, NEW.prefix_len, network.id, gateway.id, NEW.learned_at, NEW.learned_at
    FROM vpn_gateway AS gateway JOIN private_network AS network ON network.id = gateway.private_network_id
    WHERE gateway.id = NEW.vpn_gateway_id;
END;
CREATE TRIGGER route_unlearned AFTER DELETE ON learned_route
WHEN NOT EXISTS (
    SELECT 1 FROM learned_route
    WHERE vpn_gateway_id = OLD.vpn_gateway_id AND is_ipv6 = OLD.is_ipv6 AND first = OLD.first AND prefix_len = OLD.prefix_len
)
BEGIN
    DELETE FROM route WHERE kind = 's2s_vpn' AND resource_id = OLD.vpn_gateway_id AND is_ipv6 = OLD.is_ipv6 AND first = OLD.first
        AND prefix_len = OLD.prefix_len;
END;
CREATE TRIGGER route_counted AFTER INSERT ON route WHEN NEW.kind = 'custom' BEGIN
    INSERT INTO project_usage VALUES (NEW.project_id, 'routes', 1) ON CONFLICT DO UPDATE SET used = used + 1;
END;
CREATE TRIGGER route_discounted AFTER DELETE ON route WHEN OLD.kind = 'custom' BEGIN
    UPDATE project_usage SET used = used - 1 WHERE project_id = OLD.project_id AND resource = 'routes';
END;
