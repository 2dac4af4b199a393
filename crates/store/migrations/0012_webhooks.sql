-- Signed notifications (wire-ext.md §1): who wants them, and what was sent.
CREATE TABLE webhook (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    party TEXT NOT NULL CHECK (party IN ('tenant', 'partner', 'operator')),
    project_id BLOB REFERENCES project (id) ON DELETE CASCADE,
    partner_id BLOB REFERENCES partner (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    -- The kinds of events that it wants; empty: all.
    events TEXT NOT NULL,
    -- An envelope.
    secret BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    CHECK ((project_id IS NOT NULL) = (party = 'tenant')),
    CHECK ((partner_id IS NOT NULL) = (party = 'partner'))
) STRICT;
CREATE INDEX webhook_project ON webhook (project_id);
CREATE INDEX webhook_partner ON webhook (partner_id);

CREATE TABLE webhook_delivery (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    webhook_id BLOB NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    -- When to try next; NULL: it is over.
    next_at INTEGER,
    delivered_at INTEGER,
    -- What the last attempt met.
    last_error TEXT
) STRICT;
CREATE INDEX webhook_delivery_webhook ON webhook_delivery (webhook_id, seq);
CREATE INDEX webhook_delivery_due ON webhook_delivery (next_at) WHERE next_at IS NOT NULL;

-- The newest thousand of each webhook stay, whether they were delivered or not: who does not answer for long loses the oldest first.
CREATE TRIGGER webhook_delivery_bounded AFTER INSERT ON webhook_delivery BEGIN
    DELETE FROM webhook_delivery WHERE webhook_id = NEW.webhook_id AND seq <= (
        SELECT seq FROM webhook_delivery WHERE webhook_id = NEW.webhook_id ORDER BY seq DESC LIMIT 1 OFFSET 1000
    );
END;
