//! What the extension API sets of a connection, and the tunnels that follow from it.

use causeway_model::desired::Timers;
use causeway_model::resource::{Connection, Tunnels};
use causeway_model::{ConnectionId, SecretId};
use sqlx::sqlite::SqliteRow;
use std::net::IpAddr;

use crate::connection::Tunnel;
use crate::row::{RowExt, address_blob, blob, word};
use crate::{Reader, Result, Writer};

/// What a connection's BGP sessions ask of the peer beyond the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BgpOptions {
    /// The version of a secret whose data sign every segment (RFC 2385); `None`: unsigned.
    pub md5: Option<(SecretId, u32)>,
    /// Whether the peer must be a neighbour by hop limit (RFC 5082).
    pub gtsm: bool,
}

pub(crate) fn bgp(row: &SqliteRow) -> Result<BgpOptions> {
    let (id, revision) = (row.opt_id("md5_secret_id")?, row.opt_number("md5_secret_revision")?);
    Ok(BgpOptions { md5: id.zip(revision), gtsm: row.flag("gtsm")? })
}

/// Timers with the defaults where nothing was set.
pub(crate) fn timers(row: &SqliteRow) -> Result<Timers> {
    let default = Timers::default();
    Ok(Timers {
        ike_lifetime: row.opt_number("ike_lifetime")?.unwrap_or(default.ike_lifetime),
        child_lifetime: row.opt_number("child_lifetime")?.unwrap_or(default.child_lifetime),
        child_packets: row.opt_number("child_packets")?.unwrap_or(default.child_packets),
        dpd_delay: row.opt_number("dpd_delay")?.unwrap_or(default.dpd_delay),
        dpd_timeout: row.opt_number("dpd_timeout")?.unwrap_or(default.dpd_timeout),
        hold_time: row.opt_number("hold_time")?.unwrap_or(default.hold_time),
        max_prefixes: row.opt_number("max_prefixes")?.unwrap_or(default.max_prefixes),
    })
}

/// What is stored of a value: nothing, if it is the default.
fn set<T: PartialEq + Into<u64>>(value: T, default: T) -> Option<i64> {
    if value == default { None } else { Some(i64::try_from(value.into()).unwrap_or(i64::MAX)) }
}

impl Reader {
    /// The connections whose BGP sessions are signed with this secret, or this version of it, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connections_signing_with(&mut self, id: SecretId, revision: Option<u32>) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query(
            "SELECT id FROM connection WHERE md5_secret_id = ?1 AND (?2 IS NULL OR md5_secret_revision = ?2) ORDER BY seq",
        )
        .bind(blob(id.0))
        .bind(revision)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// The connections between two public addresses, whatever identity their peers prove, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connections_between(&mut self, local: IpAddr, peer: IpAddr) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query(
            "SELECT connection.id FROM tunnel JOIN connection ON connection.id = tunnel.connection_id WHERE local = ? AND peer = ? \
             ORDER BY seq",
        )
        .bind(address_blob(local))
        .bind(address_blob(peer))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }
}

impl Writer {
    /// Sets a connection's timers and limits, and for how many seconds a replaced key is accepted (`None`: the default).
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_connection_options(
        &mut self,
        id: ConnectionId,
        timers: &Timers,
        psk_overlap: Option<u32>,
    ) -> Result<()> {
        let default = Timers::default();
        sqlx::query(
            "UPDATE connection SET ike_lifetime = ?, child_lifetime = ?, child_packets = ?, dpd_delay = ?, dpd_timeout = ?, hold_time = ?, \
             max_prefixes = ?, psk_overlap = ? WHERE id = ?",
        )
        .bind(set(timers.ike_lifetime, default.ike_lifetime))
        .bind(set(timers.child_lifetime, default.child_lifetime))
        .bind(set(timers.child_packets, default.child_packets))
        .bind(set(timers.dpd_delay, default.dpd_delay))
        .bind(set(timers.dpd_timeout, default.dpd_timeout))
        .bind(set(timers.hold_time, default.hold_time))
        .bind(set(timers.max_prefixes, default.max_prefixes))
        .bind(psk_overlap)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Sets what a connection's BGP sessions ask of the peer beyond the protocol.
    ///
    /// # Errors
    /// If there is no such secret, or the database fails.
    pub async fn set_bgp_options(&mut self, id: ConnectionId, options: &BgpOptions) -> Result<()> {
        sqlx::query("UPDATE connection SET md5_secret_id = ?, md5_secret_revision = ?, gtsm = ? WHERE id = ?")
            .bind(options.md5.map(|(secret, _)| blob(secret.0)))
            .bind(options.md5.map(|(_, revision)| revision))
            .bind(options.gtsm)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Gives a connection other tunnels and another expected identity. Where no tunnel stays as it was, the peer was never seen.
    ///
    /// # Errors
    /// If another connection has one of the tunnels.
    pub async fn set_tunnels(
        &mut self,
        connection: &Connection,
        tunnels: Tunnels,
        peer_identity: Option<&str>,
        outside: &[Tunnel],
    ) -> Result<()> {
        let id = blob(connection.id.0);
        let before = self.tunnels(connection.id).await?;
        sqlx::query("UPDATE connection SET tunnels = ?, peer_identity = ? WHERE id = ?")
            .bind(word(tunnels))
            .bind(peer_identity)
            .bind(&id)
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM tunnel WHERE connection_id = ?").bind(&id).execute(self.connection()).await?;
        self.insert_tunnels(connection.id, outside).await?;
        let stays = |old: &Tunnel| outside.iter().any(|new| new.local == old.local && new.peer == old.peer);
        if !before.iter().any(stays) {
            sqlx::query("UPDATE connection_observed SET ever_up = 0 WHERE connection_id = ?")
                .bind(&id)
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }

    /// Counts one more request to prove the current key.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn count_reauthentication(&mut self, id: ConnectionId) -> Result<()> {
        sqlx::query("UPDATE connection SET reauthentications = reauthentications + 1 WHERE id = ?")
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Counts one more request to end what an earlier key authenticated.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn count_revocation(&mut self, id: ConnectionId) -> Result<()> {
        sqlx::query("UPDATE connection SET revocations = revocations + 1 WHERE id = ?")
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
