//! The official SDKs against the service, over HTTP.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use causeway_api::{Rate, RateLimits};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::service::Service;

/// Where `service` listens, and the task that serves it.
async fn listen(service: &Service) -> (String, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (url, tokio::spawn(causeway_api::serve(listener, None, service.router.clone(), std::future::pending())))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs the official Python SDK from PyPI"]
async fn the_official_python_sdk() {
    let service = Service::start_with_node(Duration::from_millis(100)).await;
    // What a client does that has sent too much is seen at a service of its own.
    let per_key = Rate { per_second: 1, burst: 5 };
    let limited = Service::start_limited(RateLimits { per_key, ..RateLimits::default() }).await;
    // And what is on its way for long, at one whose node never answers.
    let waiting = Service::start_with_node(Duration::from_secs(3600)).await;
    let ((url, serving), (limited_url, serving_limited)) = (listen(&service).await, listen(&limited).await);
    let (waiting_url, serving_waiting) = listen(&waiting).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk/python/run");
    let mut command = Command::new(script);
    // What `operator.env` has.
    command
        .env("SCW_API_URL", url)
        .env("SCW_ACCESS_KEY", &service.access_key)
        .env("SCW_SECRET_KEY", &service.secret_key)
        .env("SCW_DEFAULT_ORGANIZATION_ID", &service.organization_id)
        .env("SCW_DEFAULT_PROJECT_ID", &service.project_id)
        .env("SCW_DEFAULT_REGION", "fr-par")
        .env("SCW_DEFAULT_ZONE", "fr-par-1")
        .env("LIMITED_API_URL", limited_url)
        .env("LIMITED_ACCESS_KEY", &limited.access_key)
        .env("LIMITED_SECRET_KEY", &limited.secret_key)
        .env("NODELESS_API_URL", waiting_url)
        .env("NODELESS_ACCESS_KEY", &waiting.access_key)
        .env("NODELESS_SECRET_KEY", &waiting.secret_key)
        .env("NODELESS_PROJECT_ID", &waiting.project_id);
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("no panic").expect("a shell");
    serving.abort();
    serving_limited.abort();
    serving_waiting.abort();
    assert!(status.success(), "the SDK's tests failed: {status}");
}
