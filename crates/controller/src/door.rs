//! Who joins as a node, who stays one: the controller's authority, join tokens, certificates.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_crypto::Secret;
use causeway_fleet::ControllerEnd;
use causeway_fleet::authority::{Authority, AuthorityError, CONTROLLER_LIFE, Credentials, NODE_LIFE};
use causeway_fleet::door::{Admission, Denied, Gatekeeper, JoinRequest, Membership, RenewRequest, clocks_differ};
use causeway_fleet::lease::{Ask, Fence, Fenced, Promise, Unanswered};
use causeway_fleet::token::JoinToken;
use causeway_model::diagnosis::Attempt;
use causeway_model::{Error, MachineId, NodeId};
use causeway_store::{NodeAuthorityRecord, NodeRecord};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::audit::made;
use crate::identity::check_text;
use crate::node::NODE;
use crate::{Controller, Result, platform};

/// What the envelope of an authority's key is authenticated with.
pub(crate) fn context(id: Uuid) -> String {
    format!("node_authority|{id}")
}

fn internal(error: &dyn ToString) -> Error {
    Error::Internal(error.to_string())
}

fn refused(error: &AuthorityError) -> Denied {
    match error {
        AuthorityError::Request(_) => Denied::new(400, "invalid_request", error.to_string()),
        AuthorityError::Authority(_) => Denied::new(500, "internal", error.to_string()),
    }
}

fn failed(error: &Error) -> Denied {
    tracing::error!(?error, "a node could not be served");
    Denied::new(500, "internal", "the controller could not do this now; its log says why")
}

/// By the clock that certificates are made with.
fn system_time(now: causeway_model::Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(now.0).unwrap_or_default())
}

impl Controller {
    /// By the clock that certificates are made with.
    pub(crate) fn system_time(&self) -> SystemTime {
        system_time(self.now())
    }

    /// The authority of this service's nodes, made when it is first asked for.
    ///
    /// # Errors
    /// If the store fails or what it has cannot be used.
    pub async fn node_authority(&self) -> Result<Authority> {
        if let Some(kept) = self.read().await?.node_authority().await? {
            return self.load_authority(kept);
        }
        let mut writer = self.inner.store.write().await?;
        // Another caller may have made it meanwhile.
        if let Some(kept) = writer.node_authority().await? {
            return self.load_authority(kept);
        }
        let made = Authority::generate(system_time(self.now())).map_err(|error| internal(&error))?;
        let id = Uuid::new_v4();
        let key = self.inner.kek.seal(&context(id), made.key.as_bytes());
        let record = NodeAuthorityRecord { id, certificate: made.certificate.clone(), key };
        writer.insert_node_authority(&record).await?;
        writer.commit().await?;
        Authority::load(&made).map_err(|error| internal(&error))
    }

    /// The key of that authority, as it is kept.
    pub(crate) async fn node_authority_key(&self) -> Result<Secret> {
        let kept = match self.read().await?.node_authority().await? {
            Some(kept) => Some(kept),
            None => {
                self.node_authority().await?;
                self.read().await?.node_authority().await?
            }
        };
        let kept = kept.ok_or_else(|| Error::Internal("the nodes' authority was not kept".to_owned()))?;
        self.open_authority(&kept)
    }

    fn open_authority(&self, record: &NodeAuthorityRecord) -> Result<Secret> {
        self.inner.kek.open(&context(record.id), &record.key).map_err(|error| internal(&error))
    }

    fn load_authority(&self, record: NodeAuthorityRecord) -> Result<Authority> {
        let key = self.open_authority(&record)?;
        let key = std::str::from_utf8(key.slice()).map_err(|error| internal(&error))?;
        let kept = Credentials { certificate: record.certificate, key: Zeroizing::new(key.to_owned()) };
        Authority::load(&kept).map_err(|error| internal(&error))
    }

    /// How long a controller's certificate lasts, at least, before another one is due.
    #[must_use]
    pub const fn controller_certificate_life() -> Duration {
        CONTROLLER_LIFE
    }

    fn membership(
        &self,
        authority: &Authority,
        node: NodeId,
        zone: String,
        request: &str,
    ) -> Result<Membership, Denied> {
        let certificate = authority.certify(node, request, system_time(self.now())).map_err(|error| refused(&error))?;
        let authority = authority.pem().to_owned();
        Ok(Membership { node, zone, certificate, authority, renew_after: NODE_LIFE.as_secs() / 2 })
    }

    async fn take_in(&self, request: &JoinRequest) -> Result<Membership, Denied> {
        let no_token = |error: causeway_fleet::token::NoToken| Denied::new(400, "invalid_request", error.to_string());
        let token: JoinToken = request.token.parse().map_err(no_token)?;
        let text = check_text("name", &request.name).and_then(|()| check_text("version", &request.version));
        text.map_err(|error| Denied::new(400, "invalid_request", format!("{error:?}")))?;
        let ours = system_time(self.now()).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if clocks_differ(request.now, ours) {
            let (seconds, side) = (request.now.abs_diff(ours), if request.now > ours { "ahead of" } else { "behind" });
            let help = format!(
                "the node's clock is {seconds} s {side} the controller's; set both (NTP) and join again: the token was not used up"
            );
            return Err(Denied::new(400, "clock", help));
        }
        let authority = self.node_authority().await.map_err(|error| failed(&error))?;
        let mut writer = self.inner.store.write().await.map_err(|error| failed(&error.into()))?;
        let now = self.now();
        let known = writer.join_token(&token.hash()).await.map_err(|error| failed(&error.into()))?;
        let again = "make another one with `causeway node token create`";
        let known = known.ok_or_else(|| {
            Denied::new(403, "token_unknown", format!("this controller has no such join token, or no longer; {again}"))
        })?;
        if let Some(used) = known.used_at {
            return Err(Denied::new(403, "token_used", format!("the join token was used up at {used}; {again}")));
        }
        if known.expires_at <= now {
            let help = format!("the join token expired at {}; {again}", known.expires_at);
            return Err(Denied::new(403, "token_expired", help));
        }
        let node = NodeId::random();
        let membership = self.membership(&authority, node, known.zone.clone(), &request.request)?;
        let enrolled = async {
            writer.enrol_node(&known, (node, &request.name, &request.version), now).await?;
            let caller = platform(&self.inner.service);
            let document = json!({"zone": known.zone, "name": request.name, "join_token": known.id});
            let details = made(&document).into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
            writer.record(&caller, None, now, "join", NODE, &node.to_string(), &details).await?;
            writer.commit().await
        };
        enrolled.await.map_err(|error| failed(&error.into()))?;
        tracing::info!(%node, zone = known.zone, name = request.name, "a node joined");
        let taken = self.take_nodes_over().await;
        self.or_doubt(taken).map_err(|error| failed(&error))?;
        self.announce();
        Ok(membership)
    }

    async fn node_record(&self, node: NodeId) -> Result<Option<NodeRecord>> {
        Ok(self.read().await?.node(node).await?)
    }

    /// The zone of a node that is one.
    async fn zone_of(&self, node: NodeId) -> Result<String, Denied> {
        let again = "join again with a new token";
        match self.node_record(node).await.map_err(|error| failed(&error))? {
            None => Err(Denied::new(403, "unknown_node", format!("this controller has no such node; {again}"))),
            Some(record) => match record.revoked_at {
                Some(at) => Err(Denied::new(
                    403,
                    "revoked",
                    format!("the node was revoked at {at}; to use the machine again, {again}"),
                )),
                None => Ok(record.zone),
            },
        }
    }
}

impl Gatekeeper for Controller {
    async fn join(&self, request: JoinRequest) -> Result<Membership, Denied> {
        self.take_in(&request).await
    }

    async fn renew(&self, node: NodeId, request: RenewRequest) -> Result<Membership, Denied> {
        let zone = self.zone_of(node).await?;
        let authority = self.node_authority().await.map_err(|error| failed(&error))?;
        self.membership(&authority, node, zone, &request.request)
    }

    async fn admit(&self, node: NodeId) -> Result<Admission, Denied> {
        self.zone_of(node).await?;
        Ok(Admission { period: self.inner.watches.profile().period() })
    }

    fn turned_away(&self, node: Option<NodeId>, peer: SocketAddr, why: &str) {
        self.inner.ways.turned_away(node, Attempt { at: self.now(), peer, text: why.to_owned() });
    }

    fn ask(&self, ask: &Ask) -> Vec<Promise> {
        self.inner.leases.ask(ask, self.inner.clock.monotonic())
    }

    fn ask_others(&self, question: &Unanswered) {
        self.pass_question(question);
    }

    fn promised(&self, promise: &Promise) {
        self.pass_promise(promise);
    }

    fn fences(&self, node: NodeId) -> Vec<Fence> {
        self.inner.leases.fences(node)
    }

    fn fenced(&self, fenced: &Fenced, machine: MachineId) {
        self.inner.leases.fenced(fenced, machine);
    }

    fn outlived(&self, node: NodeId, boot: Uuid, peer: SocketAddr, age: Duration) {
        let controller = self.clone();
        tokio::spawn(async move {
            if let Err(error) = controller.node_outlived(node, boot, peer, age).await {
                tracing::error!(%node, %error, "that two processes use a node's identity could not be stored");
            }
        });
    }

    fn attached(&self, node: NodeId) -> Option<MachineId> {
        self.place_of(node).map(|place| place.machine)
    }

    fn attach(&self, node: NodeId, peer: SocketAddr, end: ControllerEnd) {
        self.attach_remote(node, peer, end);
    }
}
