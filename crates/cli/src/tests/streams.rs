//! What comes piece by piece: events that are followed over breaks, and tables.

use serde_json::{Value, json};

use super::run;
use super::server::{CONNECTION, CONNECTION_ID, Server};

const P: &str = "/s2s-vpn/v1alpha1/regions/fr-par";
const X: &str = "/causeway/v1/regions/fr-par";

fn event(sequence: u64, subject: &str) -> Value {
    json!({
        "actor": null, "at": format!("2026-07-28T12:29:0{sequence}Z"), "details": {}, "kind": "status",
        "reason": {"code": "peer_silent", "message": "nothing comes"}, "sequence": sequence, "subject": subject,
    })
}

fn message(sequence: u64, subject: &str) -> String {
    format!("id: {sequence}\nevent: status\ndata: {}\n\n", event(sequence, subject))
}

const RETRY: &str = ": events\nretry: 10\n\n";
const DELETED: &str = "event: end\ndata: {\"reason\":\"deleted\"}\n\n";

/// A server with a connection and these two events from before.
async fn server() -> std::sync::Arc<Server> {
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    let page = json!({"events": [event(2, "down"), event(1, "ready")], "total_count": 2});
    server.on(&format!("GET {X}/connections/{CONNECTION_ID}/events"), 200, page.to_string());
    server
}

#[tokio::test]
async fn a_history_is_a_table() {
    let server = server().await;
    let outcome = run(&server, &format!("connection events {CONNECTION_ID}")).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        outcome.out,
        "\
AT                    KIND    WHAT   WHY                         DETAILS  WHO
2026-07-28T12:29:02Z  status  down   peer_silent: nothing comes  -        -
2026-07-28T12:29:01Z  status  ready  peer_silent: nothing comes  -        -
"
    );
    let outcome = run(&server, &format!("connection events {CONNECTION_ID} --last 1 --after 1 -o json")).await;
    let shown: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(shown, json!([event(2, "down")]));
    let asked = format!("GET {X}/connections/{CONNECTION_ID}/events?after=1&page=1&page_size=1");
    assert_eq!(server.lines().last(), Some(&asked));
}

#[tokio::test]
async fn a_stream_goes_on_after_a_break_where_it_was() {
    let server = server().await;
    let path = format!("GET {X}/connections/{CONNECTION_ID}/events");
    // Ends in the middle of an event, which comes again as a whole.
    server.on(&path, 200, format!("{RETRY}{}{}", message(3, "configuring"), &message(4, "ready")[..20]));
    server.on(&path, 503, r#"{"message":"not now","type":"unavailable"}"#);
    server.on(&path, 200, format!("{RETRY}{}{DELETED}", message(4, "ready")));
    let outcome = run(&server, &format!("connection events {CONNECTION_ID} --follow -o json")).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<Value> =
        outcome.out.lines().map(|line| serde_json::from_str(line).expect("a document in each line")).collect();
    assert_eq!(lines, [event(1, "ready"), event(2, "down"), event(3, "configuring"), event(4, "ready")]);
    assert_eq!(
        outcome.err,
        format!(
            "the stream broke off (not now); trying to go on\nthe stream goes on\nconnection conn ({CONNECTION_ID}) has been deleted\n"
        )
    );
    let follows: Vec<_> = server.seen().into_iter().filter(|seen| seen.line.contains("follow=true")).collect();
    let places: Vec<_> = follows.iter().map(|seen| seen.last_event_id.as_str()).collect();
    assert_eq!(places, ["2", "3", "3"]);
}

#[tokio::test]
async fn a_stream_for_people_and_in_yaml() {
    let server_with_change = server().await;
    let mut change = event(3, "update");
    change["details"] = json!({"before": "{\"name\":\"a\"}", "after": "{\"name\":\"b\"}", "why": "x"});
    let stream = format!("{RETRY}id: 3\nevent: change\ndata: {change}\n\n{DELETED}");
    server_with_change.on(&format!("GET {X}/connections/{CONNECTION_ID}/events"), 200, stream);
    let line = format!("connection events {CONNECTION_ID} --follow --last 0");
    let outcome = run(&server_with_change, &line).await;
    assert!(outcome.out.ends_with("nothing comes  name: a → b, why: x\n"), "{outcome:?}");
    for (format, expected) in [
        ("table", "2026-07-28T12:29:03Z  status  active  peer_silent: nothing comes\n"),
        (
            "yaml",
            "---\nactor: null\nat: \"2026-07-28T12:29:03Z\"\ndetails: {}\nkind: status\nreason:\n  code: peer_silent\n  message: \"nothing comes\"\nsequence: 3\nsubject: active\n",
        ),
    ] {
        let server = server().await;
        let path = format!("GET {X}/connections/{CONNECTION_ID}/events");
        server.on(&path, 200, format!("{RETRY}{}{DELETED}", message(3, "active")));
        let outcome = run(&server, &format!("connection events {CONNECTION_ID} --follow --last 0 -o {format}")).await;
        assert_eq!((outcome.code, outcome.out.as_str()), (0, expected), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_where_going_on_makes_no_sense() {
    let denied = "event: end\ndata: {\"reason\":\"denied\"}\n\n";
    let forbidden = r#"{"message":"authentication is denied","reason":"revoked","type":"denied_authentication"}"#;
    for (first, second, code, told) in [
        (denied, None, 1, "were ended by the service: denied\nhint: is SCW_SECRET_KEY"),
        (RETRY, Some((401, forbidden)), 1, "error: authentication is denied: revoked"),
        (RETRY, Some((404, r#"{"message":"resource is not found","type":"not_found"}"#)), 0, "has been deleted\n"),
        ("data: {\n\n", None, 1, "is not what the API promises"),
    ] {
        let server = server().await;
        let path = format!("GET {X}/connections/{CONNECTION_ID}/events");
        server.on(&path, 200, first);
        if let Some((status, body)) = second {
            server.on(&path, status, body);
        }
        let outcome = run(&server, &format!("connection events {CONNECTION_ID} --follow")).await;
        assert_eq!(outcome.code, code, "{first}: {outcome:?}");
        assert!(outcome.err.contains(told), "{first}: {}", outcome.err);
    }
}

#[tokio::test]
async fn usage_is_a_list_or_a_table_as_it_comes() {
    let server = Server::start().await;
    let record = json!({
        "amount": 50_000, "commercial_type": "VGW-S", "currency": "EUR", "ended_at": null, "hours": 1,
        "kind": "vpn_gateway", "name": "gw", "price_per_hour": 50_000, "project_id": "p", "region": "fr-par",
        "resource_id": "g", "started_at": "2026-07-28T12:29:08Z", "zone": "fr-par-1",
    });
    let page = json!({"total_count": 1, "usage": [record]});
    server.on(&format!("GET {X}/usage"), 200, page.to_string());
    let outcome = run(&server, "usage list --from 2026-07-01 --to 2026-08-01 --project-id p").await;
    assert_eq!(
        outcome.out,
        "\
NAME  KIND         TYPE   ID  FROM                  TO  HOURS  AMOUNT
gw    vpn_gateway  VGW-S  g   2026-07-28T12:29:08Z  -   1      0.05 EUR
"
    );
    let asked = format!("GET {X}/usage?from=2026-07-01&to=2026-08-01&project_id=p&page=1&page_size=500");
    assert_eq!(server.lines(), [asked]);
    let outcome = run(&server, "usage list -o json").await;
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).expect("JSON"), json!([record]));

    let server = Server::start().await;
    server.on(&format!("GET {X}/usage"), 200, "resource_id,kind\r\ng,vpn_gateway\r\n");
    let outcome = run(&server, "usage csv --from 2026-07-01").await;
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "resource_id,kind\r\ng,vpn_gateway\r\n"));
    assert_eq!(server.lines(), [format!("GET {X}/usage?from=2026-07-01")]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("usage.csv");
    let outcome = run(&server, &format!("usage csv -O {}", file.display())).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "resource_id,kind\r\ng,vpn_gateway\r\n");
    let outcome = run(&server, "usage csv -O /nonexistent/usage.csv").await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.starts_with("error: cannot write /nonexistent/usage.csv: "), "{}", outcome.err);
}
