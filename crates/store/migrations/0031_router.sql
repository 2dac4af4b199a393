-- The node that has a VPC's router in a zone, as long as gateways of the VPC are placed there (ADR 0039). It moves in order only.
CREATE TABLE vpc_router (
    vpc_id BLOB NOT NULL REFERENCES vpc (id) ON DELETE CASCADE,
    zone TEXT NOT NULL REFERENCES zone (name),
    node_id BLOB NOT NULL REFERENCES node (id),
    -- The revision from which on its node shall not have it any more; NULL: it shall.
    leaving_revision INTEGER,
    PRIMARY KEY (vpc_id, zone)
) STRICT, WITHOUT ROWID;
CREATE INDEX vpc_router_node ON vpc_router (node_id);
CREATE INDEX vpc_router_leaving ON vpc_router (node_id) WHERE leaving_revision IS NOT NULL;

-- Which node routes a VPC of which no zone has a router: the one on which the first of its links ends, and without a link the one that came first.
CREATE VIEW vpc_fallback (vpc_id, node_id) AS SELECT vpc.id, coalesce(
    (SELECT link.node_id FROM link WHERE link.vpc_id = vpc.id AND link.node_id IS NOT NULL AND link.removing_revision IS NULL ORDER BY link.seq LIMIT 1),
    (SELECT node.id FROM node WHERE node.revoked_at IS NULL ORDER BY node.seq LIMIT 1)
) FROM vpc;

-- Until now all gateways of a VPC in a zone were on one node, and its router left that node with the last of them.
INSERT INTO vpc_router (vpc_id, zone, node_id, leaving_revision)
SELECT vpc_id, zone, node_id, CASE WHEN staying = 0 THEN last END FROM (
    SELECT network.vpc_id, gateway.zone, gateway.node_id,
        row_number() OVER (PARTITION BY network.vpc_id, gateway.zone ORDER BY gateway.gone_at IS NOT NULL, gateway.seq) AS place,
        count(CASE WHEN gateway.leaving_revision IS NULL AND gateway.gone_at IS NULL THEN 1 END)
            OVER (PARTITION BY network.vpc_id, gateway.zone) AS staying,
        max(coalesce(gateway.leaving_revision, gateway.deleting_revision)) OVER (PARTITION BY network.vpc_id, gateway.zone) AS last
    FROM vpn_gateway AS gateway JOIN private_network AS network ON network.id = gateway.private_network_id
    WHERE gateway.node_id IS NOT NULL
) WHERE place = 1;
