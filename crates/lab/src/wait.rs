//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks every 25 ms until `probe` answers `Ok`. Its last complaint becomes part of the error.
///
/// # Errors
/// It did not within `limit`.
pub async fn eventually<T, F: Future<Output = Result<T>>>(
    what: &str,
    limit: Duration,
    probe: impl FnMut() -> F,
) -> Result<T> {
    eventually_every(Duration::from_millis(25), what, limit, probe).await
}

/// As [`eventually`], with the pause between two questions chosen by the caller.
///
/// # Errors
/// It did not within `limit`.
pub async fn eventually_every<T, F: Future<Output = Result<T>>>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                bail!("{what}: not within {:.1} s; last seen: {error:#}", limit.as_secs_f64())
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_complaint_is_told() {
        let mut asked = 0;
        let outcome: Result<()> = eventually_every(Duration::from_millis(1), "x", Duration::from_millis(20), || {
            asked += 1;
            async { bail!("still {}", "down") }
        })
        .await;
        assert!(outcome.expect_err("an error").to_string().ends_with("last seen: still down"));
        assert!(asked > 1);
    }
}
