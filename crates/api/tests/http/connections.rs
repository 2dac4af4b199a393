//! The accept loop, over real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::service::{Service, VPC};

const PATIENCE: Duration = Duration::from_secs(30);

/// Reads until `end` was seen or the connection was closed.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        match timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("an answer in time")
            .expect("a socket that reads")
        {
            0 => break,
            read => text.push_str(std::str::from_utf8(&buffer[..read]).expect("UTF-8")),
        }
    }
    text
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_ends_with_the_service() {
    let service = Service::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(causeway_api::serve(listener, None, service.router.clone(), async {
        let _ = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let token = &service.secret_key;

    let body = r#"{"name":"n"}"#;
    let length = body.len();
    let request = format!(
        "POST {VPC}/vpcs HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("a socket that writes");
    let answer = read_until(&mut stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (head, json) = answer.split_once("\r\n\r\n").expect("headers and a body");
    let head = head.to_ascii_lowercase();
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", json.len())), "{head}");
    assert!(head.contains("\r\ndate: "), "{head}");
    let id = serde_json::from_str::<serde_json::Value>(json).expect("JSON")["id"].as_str().expect("an id").to_owned();

    let request =
        format!("DELETE {VPC}/vpcs/{id} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.expect("a socket that writes");
    let answer = read_until(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 204 no content\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-type: application/json\r\n"), "{answer}");
    assert!(!answer.contains("content-length") && !answer.contains("transfer-encoding"), "{answer}");

    stop.send(()).expect("the service runs");
    timeout(PATIENCE, serving).await.expect("an end in time").expect("no panic").expect("no error");
    assert_eq!(read_until(&mut stream, "never").await, "", "the idle connection is closed");
    TcpStream::connect(address).await.expect_err("nobody listens");
}

#[tokio::test]
async fn nonsense_is_refused_in_json_and_the_next_client_is_served() {
    let service = Service::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(causeway_api::serve(listener, None, service.router.clone(), std::future::pending()));
    let url = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(65_535));
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    let whole = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    for (nonsense, status, argument) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "400 Bad Request", "request"),
        ("GET\r\n\r\n", "400 Bad Request", "request"),
        (url.as_str(), "414 URI Too Long", "url"),
        (header.as_str(), "431 Request Header Fields Too Large", "headers"),
        (whole.as_str(), "431 Request Header Fields Too Large", "headers"),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(nonsense.as_bytes()).await.expect("all of it is taken");
        let mut answer = String::new();
        let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("a closed connection");
        read.expect("an orderly end");
        let (head, body) = answer.split_once("\r\n\r\n").expect("headers and a body");
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
        let head = head.to_ascii_lowercase();
        for header in ["content-type: application/json", "connection: close", "x-frame-options: deny", "x-request-id: "]
        {
            assert_eq!(head.matches(&format!("\r\n{header}")).count(), 1, "{header}: {head}");
        }
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(
            (&body["type"], &body["details"][0]["argument_name"]),
            (&"invalid_arguments".into(), &argument.into())
        );
    }
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a socket that writes");
    assert!(read_until(&mut stream, "}").await.ends_with("{\"status\":\"ok\"}"));
    serving.abort();
}
