//! Errors, as people read them.

use super::server::{CONNECTION, CONNECTION_ID, Server};
use super::{run, run_in};

const GATEWAYS: &str = "/s2s-vpn/v1alpha1/regions/fr-par/customer-gateways";
const CONNECTIONS: &str = "/s2s-vpn/v1alpha1/regions/fr-par/connections";

#[tokio::test]
async fn every_invalid_argument_is_named_with_its_help() {
    let server = Server::start().await;
    server.on(
        &format!("POST {GATEWAYS}"),
        400,
        r#"{"details":[{"argument_name":"asn","help_message":"must be from 1 to 4294967294","reason":"constraint"},{"argument_name":"name","help_message":"","reason":"required"}],"message":"invalid argument(s)","type":"invalid_arguments"}"#,
    );
    let outcome = run(&server, "customer-gateway create office --asn 0").await;
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    assert_eq!(
        outcome.err,
        "\
error: invalid argument(s)
  --asn: must be from 1 to 4294967294 (constraint)
  name: required
request id: 6b2f
"
    );
}

#[tokio::test]
async fn every_type_of_error_says_what_to_do_about_it() {
    for (status, body, expected) in [
        (
            412,
            r#"{"help_message":"delete its connections first","message":"precondition is not respected","precondition":"resource_still_in_use","type":"precondition_failed"}"#,
            "error: precondition is not respected: resource_still_in_use\nhint: delete its connections first\nrequest id: 6b2f\n",
        ),
        (
            409,
            r#"{"current_state":"configuring","message":"resource is in a transient state","resource":"vpn_gateway","resource_id":"x","type":"transient_state"}"#,
            "error: resource is in a transient state: vpn_gateway x is configuring\nhint: try again when that is over; the `state` command says where it stands\nrequest id: 6b2f\n",
        ),
        (
            403,
            r#"{"details":[{"action":"write","resource":"api_key"}],"message":"insufficient permissions","type":"permissions_denied"}"#,
            "error: insufficient permissions\n  write api_key is not allowed with this key\nrequest id: 6b2f\n",
        ),
        (
            403,
            r#"{"details":[{"current":10,"quota":10,"resource":"connections"}],"message":"quota(s) exceeded","type":"quotas_exceeded"}"#,
            "error: quota(s) exceeded\n  connections: 10 of 10 used\nrequest id: 6b2f\n",
        ),
        (
            401,
            r#"{"message":"authentication is denied","method":"api_key","reason":"not_found","type":"denied_authentication"}"#,
            "error: authentication is denied: not_found\nhint: is SCW_SECRET_KEY a key of this service? run: . DIR/operator.env\nrequest id: 6b2f\n",
        ),
        (
            502,
            "<html>Bad\u{1b}[2J Gateway</html>",
            "error: <html>Bad\\u{1b}[2J Gateway</html> (HTTP 502)\nrequest id: 6b2f\n",
        ),
        (429, "", "error: an error without a body (HTTP 429)\nrequest id: 6b2f\n"),
    ] {
        let server = Server::start().await;
        server.on(&format!("GET {CONNECTIONS}"), status, body);
        let outcome = run(&server, "connection list").await;
        assert_eq!((outcome.code, outcome.err.as_str()), (1, expected), "{body}");
    }
}

#[tokio::test]
async fn an_ambiguous_name_lists_the_ids_and_changes_nothing() {
    let server = Server::start().await;
    let twin = CONNECTION.replace(CONNECTION_ID, "0ae4cf90-0405-4318-a169-e45b3bef7677");
    let longer = CONNECTION.replace("\"conn\"", "\"conn-2\"");
    server.on(
        &format!("GET {CONNECTIONS}"),
        200,
        format!(r#"{{"connections":[{CONNECTION},{longer},{twin}],"total_count":3}}"#),
    );
    let outcome = run(&server, "connection delete conn").await;
    assert_eq!(outcome.code, 1);
    assert_eq!(
        outcome.err,
        "\
error: the connection name \"conn\" is ambiguous: 2 have it
  0ae4cf90-0405-4318-a169-e45b3bef7676
  0ae4cf90-0405-4318-a169-e45b3bef7677
hint: give the id instead of the name, or narrow with --project-id
"
    );
    assert_eq!(server.lines(), [format!("GET {CONNECTIONS}?name=conn&page=1&page_size=500")]);
    let outcome = run(&server, "connection delete con").await;
    assert_eq!((outcome.code, outcome.err.as_str()), (1, "error: no connection is named \"con\"\n"));
}

#[tokio::test]
async fn a_wrong_environment_is_wrong_usage_and_says_what_to_run() {
    let outcome = run_in(&|name| (name == "SCW_SECRET_KEY").then(|| "k".to_owned()), "vpc list").await;
    assert_eq!(outcome.code, 2);
    assert_eq!(
        outcome.err,
        "\
error: the environment lacks SCW_API_URL, SCW_DEFAULT_REGION
hint: run: . DIR/operator.env (DIR is the data directory of `causeway serve`)
"
    );
    let outcome =
        run_in(&|name| Some(if name == "SCW_API_URL" { "ftp://h" } else { "k" }.to_owned()), "vpc list").await;
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.starts_with("error: SCW_API_URL has to begin with http:// or https://"), "{}", outcome.err);
}

#[tokio::test]
async fn an_answer_that_breaks_the_promise_is_told_and_nothing_panics() {
    for body in [
        "",
        "null",
        "[]",
        r#"{"total_count":1}"#,
        r#"{"connections":{},"total_count":1}"#,
        r#"{"connections":[1,null,{}]}"#,
    ] {
        let server = Server::start().await;
        server.on(&format!("GET {CONNECTIONS}"), 200, body);
        for format in ["table", "json", "yaml"] {
            let outcome = run(&server, &format!("connection list -o {format}")).await;
            let bears_a_list = body.contains("[1");
            assert_eq!(outcome.code, u8::from(!bears_a_list), "{body}: {outcome:?}");
            assert_eq!(outcome.err.contains("is not what the API promises"), !bears_a_list, "{body}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let environment = {
        let url = url.clone();
        move |name: &str| Some(if name == "SCW_API_URL" { url.clone() } else { "fr-par".to_owned() })
    };
    let outcome = run_in(&environment, "vpc list").await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.starts_with(&format!("error: cannot reach the API at {url}: ")), "{}", outcome.err);
    assert!(
        outcome.err.ends_with("hint: is `causeway serve` running, and is SCW_API_URL its address?\n"),
        "{}",
        outcome.err
    );
}
