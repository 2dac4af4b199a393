-- Ids are 16-octet UUIDs, addresses 4 or 16 octets in network order (so that they sort), times microseconds since the epoch.
-- `seq` gives objects that were created in the same microsecond an order. `name_folded` serves the name filter, `name_sort` the name order
-- (lower case, leading punctuation ignored). Lists that are echoed as given (tags, ciphers, prefixes) are JSON text.

CREATE TABLE setting (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE organization (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE project (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    -- The 40 random bits of the project's fd00::/8 prefix, with the fd in front.
    ula BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX project_organization ON project (organization_id);

CREATE TABLE api_key (
    access_key TEXT PRIMARY KEY,
    -- SHA-256 of the secret key, which has 122 random bits: no salt is needed against guessing.
    secret_hash BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    project_id BLOB NOT NULL REFERENCES project (id),
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE TABLE zone (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    region TEXT NOT NULL
) STRICT;

CREATE TABLE gateway_type (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    bandwidth INTEGER NOT NULL,
    allowed_connections INTEGER NOT NULL
) STRICT;

CREATE TABLE gateway_type_zone (
    gateway_type TEXT NOT NULL REFERENCES gateway_type (name) ON DELETE CASCADE,
    zone TEXT NOT NULL REFERENCES zone (name),
    PRIMARY KEY (gateway_type, zone)
) STRICT;

CREATE TABLE public_pool (
    zone TEXT NOT NULL REFERENCES zone (name),
    prefix TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (zone, prefix)
) STRICT;

-- Which objects carry a tag: the filter's index. The echo in the order given is in the object's own row.
CREATE TABLE tag (
    tag TEXT NOT NULL,
    owner BLOB NOT NULL,
    PRIMARY KEY (tag, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_owner ON tag (owner);

CREATE TABLE vpc (
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
    is_default INTEGER NOT NULL
) STRICT;
CREATE INDEX vpc_project ON vpc (project_id, created_at);
CREATE UNIQUE INDEX vpc_default ON vpc (project_id, region) WHERE is_default = 1;

CREATE TABLE private_network (
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
    vpc_id BLOB NOT NULL REFERENCES vpc (id),
    default_route_propagation_enabled INTEGER NOT NULL,
    dhcp_enabled INTEGER NOT NULL
) STRICT;
CREATE INDEX private_network_project ON private_network (project_id, created_at);
CREATE INDEX private_network_vpc ON private_network (vpc_id);

CREATE TABLE subnet (
    id BLOB PRIMARY KEY,
    private_network_id BLOB NOT NULL REFERENCES private_network (id) ON DELETE CASCADE,
    vpc_id BLOB NOT NULL REFERENCES vpc (id),
    is_ipv6 INTEGER NOT NULL,
    -- First and last address, inclusive: no two subnets of one VPC overlap.
    first BLOB NOT NULL,
    last BLOB NOT NULL,
    subnet TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (private_network_id, is_ipv6)
) STRICT;
CREATE UNIQUE INDEX subnet_vpc ON subnet (vpc_id, is_ipv6, first);
CREATE TRIGGER subnet_overlap BEFORE INSERT ON subnet
WHEN EXISTS (
    SELECT 1 FROM subnet
    WHERE vpc_id = NEW.vpc_id AND is_ipv6 = NEW.is_ipv6 AND first <= NEW.last AND last >= NEW.first
)
BEGIN
    SELECT RAISE(ABORT, 'subnet overlaps another one of its VPC');
END;

CREATE TABLE ip (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    project_id BLOB NOT NULL REFERENCES project (id),
    organization_id BLOB NOT NULL REFERENCES organization (id),
    region TEXT NOT NULL,
    zone TEXT,
    subnet_id BLOB REFERENCES subnet (id),
    is_ipv6 INTEGER NOT NULL,
    address BLOB NOT NULL,
    prefix_len INTEGER NOT NULL,
    -- Allotted for the resource that uses it and released with it.
    allotted INTEGER NOT NULL,
    resource_kind TEXT,
    resource_id BLOB,
    resource_name TEXT,
    resource_mac TEXT,
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((zone IS NULL) <> (subnet_id IS NULL)),
    CHECK ((resource_kind IS NULL) = (resource_id IS NULL))
) STRICT;
CREATE UNIQUE INDEX ip_subnet ON ip (subnet_id, address) WHERE subnet_id IS NOT NULL;
CREATE UNIQUE INDEX ip_public ON ip (address) WHERE zone IS NOT NULL;
CREATE INDEX ip_project ON ip (project_id, created_at);
CREATE INDEX ip_resource ON ip (resource_id);

CREATE TABLE secret (
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
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    protected INTEGER NOT NULL,
    path TEXT NOT NULL,
    -- The connection that it was made for and goes with.
    owner_connection BLOB
) STRICT;
CREATE INDEX secret_project ON secret (project_id, name_sort);
CREATE INDEX secret_owner ON secret (owner_connection) WHERE owner_connection IS NOT NULL;

CREATE TABLE secret_version (
    secret_id BLOB NOT NULL REFERENCES secret (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL CHECK (revision > 0),
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled', 'deleted')),
    description TEXT,
    data_crc32 INTEGER,
    -- An envelope (never plaintext); NULL once deleted.
    data BLOB,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    PRIMARY KEY (secret_id, revision),
    CHECK ((data IS NULL) = (status = 'deleted'))
) STRICT, WITHOUT ROWID;

-- Gateway nodes. `lease_epoch` fences a node that lost its gateways; nothing hands out leases yet.
CREATE TABLE node (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    zone TEXT NOT NULL REFERENCES zone (name),
    boot BLOB NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'up', 'down', 'keepalive_fail', 'config_fail')),
    state_since INTEGER NOT NULL,
    silent INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    applied_revision INTEGER NOT NULL,
    reported_at INTEGER,
    lease_epoch INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX node_zone ON node (zone, state);

CREATE TABLE vpn_gateway (
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
    zone TEXT NOT NULL REFERENCES zone (name),
    gateway_type TEXT NOT NULL REFERENCES gateway_type (name),
    asn INTEGER NOT NULL,
    private_network_id BLOB NOT NULL REFERENCES private_network (id),
    ipam_private_ipv4_id BLOB NOT NULL REFERENCES ip (id),
    ipam_private_ipv6_id BLOB NOT NULL REFERENCES ip (id),
    public_ipv4_id BLOB REFERENCES ip (id),
    public_ipv6_id BLOB REFERENCES ip (id),
    node_id BLOB REFERENCES node (id),
    locked INTEGER NOT NULL,
    lock_reason TEXT,
    -- The newest configuration, and since when the node owes its acknowledgement (NULL: it owes none).
    config_revision INTEGER NOT NULL,
    pending_since INTEGER,
    deleting_since INTEGER,
    -- The node's revision that no longer names the gateway.
    deleting_revision INTEGER,
    -- Past its deadline: nobody sees it any more, and its addresses wait for the node.
    gone_at INTEGER,
    -- Copy of the derived status for filters and order.
    status TEXT NOT NULL
) STRICT;
CREATE INDEX vpn_gateway_project ON vpn_gateway (project_id, created_at);
CREATE INDEX vpn_gateway_status ON vpn_gateway (status, created_at);
CREATE INDEX vpn_gateway_network ON vpn_gateway (private_network_id);
CREATE INDEX vpn_gateway_node ON vpn_gateway (node_id);
CREATE INDEX vpn_gateway_pending ON vpn_gateway (pending_since) WHERE pending_since IS NOT NULL;
CREATE INDEX vpn_gateway_deleting ON vpn_gateway (deleting_since) WHERE deleting_since IS NOT NULL;

CREATE TABLE gateway_observed (
    gateway_id BLOB PRIMARY KEY REFERENCES vpn_gateway (id) ON DELETE CASCADE,
    applied_revision INTEGER NOT NULL,
    refusal TEXT,
    ever_acknowledged INTEGER NOT NULL,
    observed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE customer_gateway (
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
    asn INTEGER NOT NULL,
    public_ipv4 BLOB,
    public_ipv6 BLOB
) STRICT;
CREATE INDEX customer_gateway_project ON customer_gateway (project_id, created_at);

CREATE TABLE routing_policy (
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
CREATE INDEX routing_policy_project ON routing_policy (project_id, created_at);

CREATE TABLE connection (
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
    vpn_gateway_id BLOB NOT NULL REFERENCES vpn_gateway (id),
    customer_gateway_id BLOB NOT NULL REFERENCES customer_gateway (id),
    tunnels TEXT NOT NULL CHECK (tunnels IN ('ipv4', 'ipv6', 'both')),
    initiation_policy TEXT NOT NULL CHECK (initiation_policy IN ('vpn_gateway', 'customer_gateway')),
    ikev2_ciphers TEXT NOT NULL,
    esp_ciphers TEXT NOT NULL,
    secret_id BLOB NOT NULL,
    secret_revision INTEGER NOT NULL,
    route_propagation_enabled INTEGER NOT NULL,
    peer_identity TEXT,
    locked INTEGER NOT NULL,
    lock_reason TEXT,
    config_revision INTEGER NOT NULL,
    pending_since INTEGER,
    status TEXT NOT NULL,
    FOREIGN KEY (secret_id, secret_revision) REFERENCES secret_version (secret_id, revision)
) STRICT;
CREATE INDEX connection_project ON connection (project_id, created_at);
CREATE INDEX connection_gateway ON connection (vpn_gateway_id, created_at);
CREATE INDEX connection_customer ON connection (customer_gateway_id, created_at);
CREATE INDEX connection_secret ON connection (secret_id, secret_revision);
CREATE INDEX connection_status ON connection (status, created_at);
CREATE INDEX connection_pending ON connection (pending_since) WHERE pending_since IS NOT NULL;

CREATE TABLE bgp_session (
    connection_id BLOB NOT NULL REFERENCES connection (id) ON DELETE CASCADE,
    is_ipv6 INTEGER NOT NULL,
    private_ip TEXT NOT NULL,
    peer_private_ip TEXT NOT NULL,
    routing_policy_id BLOB REFERENCES routing_policy (id),
    PRIMARY KEY (connection_id, is_ipv6)
) STRICT, WITHOUT ROWID;
CREATE INDEX bgp_session_policy ON bgp_session (routing_policy_id);

-- Interconnection subnets in units of two addresses (/31, /127): a /30 holds two of them. Two subnets overlap exactly when they share a
-- unit, so that uniqueness per VPN gateway and per customer gateway is plain uniqueness of the units.
CREATE TABLE interconnection (
    connection_id BLOB NOT NULL REFERENCES connection (id) ON DELETE CASCADE,
    vpn_gateway_id BLOB NOT NULL,
    customer_gateway_id BLOB NOT NULL,
    is_ipv6 INTEGER NOT NULL,
    unit BLOB NOT NULL,
    PRIMARY KEY (vpn_gateway_id, is_ipv6, unit),
    UNIQUE (customer_gateway_id, is_ipv6, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX interconnection_connection ON interconnection (connection_id);

-- What tells two tunnels apart (system.md §1.1). An empty identity means the peer's address.
CREATE TABLE tunnel (
    connection_id BLOB NOT NULL REFERENCES connection (id) ON DELETE CASCADE,
    is_ipv6 INTEGER NOT NULL,
    local BLOB NOT NULL,
    peer BLOB NOT NULL,
    identity TEXT NOT NULL,
    PRIMARY KEY (connection_id, is_ipv6),
    UNIQUE (local, peer, identity)
) STRICT, WITHOUT ROWID;

-- The key that a connection used before: accepted until the overlap window ends. An envelope.
CREATE TABLE previous_key (
    connection_id BLOB PRIMARY KEY REFERENCES connection (id) ON DELETE CASCADE,
    data BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX previous_key_until ON previous_key (until);

CREATE TABLE connection_observed (
    connection_id BLOB PRIMARY KEY REFERENCES connection (id) ON DELETE CASCADE,
    applied_revision INTEGER NOT NULL,
    refusal TEXT,
    ever_acknowledged INTEGER NOT NULL,
    ever_up INTEGER NOT NULL,
    facts TEXT NOT NULL,
    observed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_record (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    access_key TEXT NOT NULL,
    request_id BLOB NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    details TEXT NOT NULL
) STRICT;
CREATE INDEX audit_record_at ON audit_record (at);
CREATE INDEX audit_record_resource ON audit_record (resource_id);

-- What happened, in order: whoever follows remembers the last sequence number that it has seen.
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    object_id TEXT NOT NULL
) STRICT;
