-- What a VPC's router is told beside its networks: custom routes, access lists, attachments; and the table of all routes of a VPC, whoever
-- made them, so that a list of ten thousand is one index away.

ALTER TABLE vpc ADD COLUMN custom_routes_propagation_enabled INTEGER NOT NULL DEFAULT 1;
-- Of the routes, lists and attachments: 0 until the first one. Since when a node owes its acknowledgement.
ALTER TABLE vpc ADD COLUMN config_revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vpc ADD COLUMN pending_since INTEGER;
CREATE INDEX vpc_pending ON vpc (pending_since) WHERE pending_since IS NOT NULL;

CREATE TABLE vpc_observed (
    vpc_id BLOB NOT NULL REFERENCES vpc (id) ON DELETE CASCADE,
    node_id BLOB NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    applied_revision INTEGER NOT NULL,
    refusal TEXT,
    acl TEXT NOT NULL,
    observed_at INTEGER NOT NULL,
    PRIMARY KEY (vpc_id, node_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX vpc_observed_node ON vpc_observed (node_id);

-- A list that was never set accepts everything.
CREATE TABLE vpc_acl (
    vpc_id BLOB NOT NULL REFERENCES vpc (id) ON DELETE CASCADE,
    is_ipv6 INTEGER NOT NULL,
    acl TEXT NOT NULL,
    PRIMARY KEY (vpc_id, is_ipv6)
) STRICT, WITHOUT ROWID;

-- A bridge or interface that the operator names for a Private Network.
CREATE TABLE private_network_attachment (
    private_network_id BLOB PRIMARY KEY REFERENCES private_network (id) ON DELETE CASCADE,
    interface TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Only a tenant's own routes have an id. `resource_id` is the next hop: what holds the address `ip_id`, or the VPN gateway.
CREATE TABLE route (
    seq INTEGER PRIMARY KEY,
    id BLOB UNIQUE,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    project_id BLOB NOT NULL REFERENCES project (id),
    region TEXT NOT NULL,
    vpc_id BLOB NOT NULL REFERENCES vpc (id),
    kind TEXT NOT NULL CHECK (kind IN ('subnet', 'custom', 's2s_vpn')),
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
CREATE INDEX route_vpc ON route (vpc_id, created_at, seq);
CREATE INDEX route_destination ON route (vpc_id, is_ipv6, first, prefix_len);
CREATE INDEX route_project ON route (project_id, created_at, seq);
CREATE INDEX route_network ON route (private_network_id);
CREATE INDEX route_ip ON route (ip_id) WHERE ip_id IS NOT NULL;
CREATE UNIQUE INDEX route_custom ON route (vpc_id, is_ipv6, first, prefix_len) WHERE kind = 'custom';
CREATE UNIQUE INDEX route_learned ON route (resource_id, is_ipv6, first, prefix_len) WHERE kind = 's2s_vpn';

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
INSERT INTO route (organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last, prefix_len,
    private_network_id, created_at, updated_at)
SELECT organization_id, project_id, region, subnet.vpc_id, 'subnet', 'Local Private Network route', '["MANAGED"]', subnet, is_ipv6, first, last,
    CAST(substr(subnet, instr(subnet, '/') + 1) AS INTEGER), private_network.id, subnet.created_at, subnet.updated_at
FROM subnet JOIN private_network ON private_network.id = subnet.private_network_id ORDER BY private_network.seq, is_ipv6;

-- Which connections a VPN gateway learned an installed prefix from. The VPC's table has it once for each gateway.
CREATE TABLE learned_route (
    connection_id BLOB NOT NULL REFERENCES connection (id) ON DELETE CASCADE,
    vpn_gateway_id BLOB NOT NULL,
    is_ipv6 INTEGER NOT NULL,
    first BLOB NOT NULL,
    last BLOB NOT NULL,
    prefix_len INTEGER NOT NULL,
    destination TEXT NOT NULL,
    learned_at INTEGER NOT NULL,
    PRIMARY KEY (connection_id, is_ipv6, first, prefix_len)
) STRICT, WITHOUT ROWID;
CREATE INDEX learned_route_gateway ON learned_route (vpn_gateway_id, is_ipv6, first, prefix_len);
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

ALTER TABLE ip ADD COLUMN attached_at INTEGER;
UPDATE ip SET attached_at = updated_at WHERE resource_id IS NOT NULL;
CREATE INDEX ip_mac ON ip (resource_mac) WHERE resource_mac IS NOT NULL;

-- The products that a tenant lets use a secret.
CREATE TABLE secret_product (
    secret_id BLOB NOT NULL REFERENCES secret (id) ON DELETE CASCADE,
    product TEXT NOT NULL,
    PRIMARY KEY (secret_id, product)
) STRICT, WITHOUT ROWID;
