//! Cookies against floods of forged IKE_SA_INIT requests (RFC 7296 §2.6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use causeway_crypto::{Entropy, Secret, constant_time_eq, hmac_sha256};

use crate::codec::message::address_octets;

/// A secret makes cookies for this long and accepts them for this long again.
const SECRET_LIFE: Duration = Duration::from_secs(60);

/// Makes and checks cookies without remembering any of them.
#[derive(Default)]
pub(crate) struct CookieJar {
    current: Option<(Instant, Secret)>,
    previous: Option<(Instant, Secret)>,
}

impl CookieJar {
    /// The cookie for a request.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        remote: SocketAddr,
        spi: u64,
        nonce: &[u8],
    ) -> [u8; 32] {
        self.turn(now, entropy);
        match &self.current {
            Some((_, secret)) => cookie(secret, remote, spi, nonce),
            None => [0; 32],
        }
    }

    /// Whether `presented` is ours and belongs to this request.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        remote: SocketAddr,
        spi: u64,
        nonce: &[u8],
        presented: &[u8],
    ) -> bool {
        self.turn(now, entropy);
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .any(|(_, secret)| constant_time_eq(&cookie(secret, remote, spi, nonce), presented))
    }

    fn turn(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.current.as_ref().is_none_or(|(made, _)| now.saturating_duration_since(*made) >= SECRET_LIFE) {
            let mut octets = vec![0; 32];
            entropy.fill(&mut octets);
            self.previous = self.current.replace((now, Secret::new(octets)));
        }
        if self.previous.as_ref().is_some_and(|(made, _)| now.saturating_duration_since(*made) >= 2 * SECRET_LIFE) {
            self.previous = None;
        }
    }
}

fn cookie(secret: &Secret, remote: SocketAddr, spi: u64, nonce: &[u8]) -> [u8; 32] {
    let port = remote.port().to_be_bytes();
    hmac_sha256(secret.slice(), &[&address_octets(remote.ip()), &port, &spi.to_be_bytes(), nonce])
}

#[cfg(test)]
mod tests {
    use causeway_crypto::SeededEntropy;

    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_request_and_for_a_while() {
        let mut entropy = SeededEntropy::new(1);
        let mut jar = CookieJar::default();
        let start = Instant::now();
        let remote: SocketAddr = "192.0.2.1:500".parse().expect("an address");
        let other: SocketAddr = "192.0.2.2:500".parse().expect("an address");
        let cookie = jar.make(start, &mut entropy, remote, 1, b"nonce");
        let mut check = |after, remote, spi, nonce: &[u8]| {
            jar.check(start + Duration::from_secs(after), &mut entropy, remote, spi, nonce, &cookie)
        };
        assert!(check(0, remote, 1, b"nonce"));
        assert!(!check(0, other, 1, b"nonce"));
        assert!(!check(0, remote, 2, b"nonce"));
        assert!(!check(0, remote, 1, b"other"));
        assert!(check(61, remote, 1, b"nonce"));
        assert!(!check(122, remote, 1, b"nonce"));
    }
}
