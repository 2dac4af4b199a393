//! The controller's own certificate authority. It certifies two kinds of peers and nothing else: controllers, under one fixed name, and
//! nodes, each under its id. Who is spoken to is decided by that name, never by the address that was dialled.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_crypto::sha256;
use causeway_model::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use zeroize::Zeroizing;

/// The name of every controller.
pub const CONTROLLER_NAME: &str = "controller.causeway.internal";
/// Behind a node's id.
const NODE_SUFFIX: &str = ".node.causeway.internal";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A certificate is valid from so long before it was made: a clock that is set back by an hour, or was slow by some, costs nobody the channel.
const CLOCK_TOLERANCE: Duration = DAY;
/// Life of the authority.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(365 * 20);
/// Life of a controller's certificate; a new one is made at every start and before it ends.
pub const CONTROLLER_LIFE: Duration = DAY.saturating_mul(90);
/// Life of a node's certificate: how long a node may be away from every controller and still come back by itself.
pub const NODE_LIFE: Duration = DAY.saturating_mul(14);

/// Octets of a certificate signing request at most.
const MAX_REQUEST: usize = 16 * 1024;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The stored authority is damaged, or the library refused.
    #[error("the controller's authority cannot be used: {0}")]
    Authority(String),
    /// What the node sent is no proof of a key of its own.
    #[error("the certificate signing request is not valid: {0}")]
    Request(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Authority(error.to_string())
    }
}

/// A certificate chain and its key, both in PEM.
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

fn named(params: &mut CertificateParams, name: &str) {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
}

/// From shortly before `now` for `life`.
fn lasting(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_TOLERANCE);
    params.not_after = epoch + since_epoch + life;
}

/// Controllers and nodes dial each other.
fn leaf(name: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    named(&mut params, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl Authority {
    /// A new authority: what has to be kept for [`Self::load`].
    ///
    /// # Errors
    /// If the library cannot make a key.
    pub fn generate(now: SystemTime) -> Result<Credentials, AuthorityError> {
        let mut params = CertificateParams::default();
        named(&mut params, "Causeway node authority");
        lasting(&mut params, now, AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Credentials { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// The authority that was made before.
    ///
    /// # Errors
    /// If what was kept is damaged.
    pub fn load(kept: &Credentials) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(kept.certificate.as_bytes())
            .map_err(|error| AuthorityError::Authority(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, KeyPair::from_pem(&kept.key)?)?;
        Ok(Self { issuer, certificate, pem: kept.certificate.clone() })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What join tokens carry, so that a node that has nothing yet trusts this authority and no other.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// A controller's certificate and key.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn controller(&self, now: SystemTime) -> Result<Credentials, AuthorityError> {
        let mut params = leaf(CONTROLLER_NAME)?;
        lasting(&mut params, now, CONTROLLER_LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Credentials { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// A certificate for the key of `request` (PEM). Of the request nothing but the key counts: the name and the life are ours to say.
    ///
    /// # Errors
    /// If the request is malformed, or not signed by the key in it.
    pub fn certify(&self, node: NodeId, request: &str, now: SystemTime) -> Result<String, AuthorityError> {
        if request.len() > MAX_REQUEST {
            return Err(AuthorityError::Request(format!("it is longer than {MAX_REQUEST} octets")));
        }
        let invalid = |error: &dyn ToString| AuthorityError::Request(error.to_string());
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).map_err(|error| invalid(&error))?;
        let asked = CertificateSigningRequestParams::from_der(&der).map_err(|error| invalid(&error))?;
        let mut params = leaf(&node_name(node))?;
        lasting(&mut params, now, NODE_LIFE);
        let signed = CertificateSigningRequestParams { params, public_key: asked.public_key };
        Ok(signed.signed_by(&self.issuer)?.pem())
    }
}

/// A key of its own and the request for its certificate: `(key, request)`, both PEM.
///
/// # Errors
/// If the library refuses.
pub fn request() -> Result<(Zeroizing<String>, String), AuthorityError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    named(&mut params, "Causeway node");
    let request = params.serialize_request(&key)?.pem()?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}

/// SHA-256 of a certificate.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    sha256(&[certificate])
}

/// The name in a node's certificate.
#[must_use]
pub fn node_name(node: NodeId) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// The one name of a certificate, which the authority must have verified.
fn name_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    let (name, None) = (names.next()?, names.next()) else { return None };
    Some(name.to_owned())
}

/// The node that a certificate is for, which the authority must have verified.
#[must_use]
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    name_of(certificate)?.strip_suffix(NODE_SUFFIX)?.parse().ok()
}

/// Whether a certificate, which the authority must have verified, is a controller's.
#[must_use]
pub fn is_controller(certificate: &CertificateDer<'_>) -> bool {
    name_of(certificate).is_some_and(|name| name == CONTROLLER_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_the_name_that_the_controller_gives_it_and_no_other() {
        let kept = Authority::generate(SystemTime::now()).expect("made");
        let authority = Authority::load(&kept).expect("loads");
        let again = Authority::load(&kept).expect("loads");
        assert_eq!(authority.fingerprint(), again.fingerprint());
        let node = NodeId::random();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![CONTROLLER_NAME.to_owned()]).expect("names");
        let greedy = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        let certificate = authority.certify(node, &greedy, SystemTime::now()).expect("certified");
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
        assert_eq!(node_of(&der), Some(node));
        assert_eq!(node_of(authority.certificate()), None);
    }

    #[test]
    fn a_request_that_is_not_signed_by_its_key_is_refused() {
        let authority = Authority::load(&Authority::generate(SystemTime::now()).expect("made")).expect("loads");
        let (_, request) = request().expect("made");
        for broken in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
            let refused = authority.certify(NodeId::random(), broken, SystemTime::now());
            assert!(matches!(refused, Err(AuthorityError::Request(_))), "{broken}");
        }
        let long = request.clone() + &"\n".repeat(MAX_REQUEST);
        assert!(matches!(
            authority.certify(NodeId::random(), &long, SystemTime::now()),
            Err(AuthorityError::Request(_))
        ));
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).expect("PEM");
        let mut octets = der.to_vec();
        // The last octet is the signature's.
        if let Some(last) = octets.last_mut() {
            *last ^= 1;
        }
        let params = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(octets));
        assert!(params.is_err());
    }
}
