//! How much a project may have.

use std::fmt;
use std::str::FromStr;

use causeway_model::error::ArgumentReason;
use causeway_model::resource::Caller;
use causeway_model::{Error, ProjectId};
use serde_json::json;

use crate::access::operator;
use crate::audit::{and, changed};
use crate::unit::Unit;
use crate::{Controller, Result};

/// A kind of objects that is limited per project. Addresses that a gateway brought along and secrets that a connection owns do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaResource {
    /// VPCs.
    Vpcs,
    /// Private Networks.
    PrivateNetworks,
    /// VPN gateways.
    VpnGateways,
    /// Connections.
    Connections,
    /// Customer gateways.
    CustomerGateways,
    /// Routing policies.
    RoutingPolicies,
    /// Addresses that were booked.
    Ips,
    /// Secrets.
    Secrets,
    /// Custom routes.
    Routes,
    /// InterLinks.
    Links,
    /// Routing policies of InterLinks.
    LinkRoutingPolicies,
    /// Prefixes in the whitelists of all routing policies, those of InterLinks included.
    RoutingPrefixes,
    /// Octets of the data of all versions of secrets, as they are stored, those that connections own included. A connection is made all the
    /// same where there are as many as there may be.
    SecretOctets,
}

impl QuotaResource {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Vpcs,
        Self::PrivateNetworks,
        Self::VpnGateways,
        Self::Connections,
        Self::CustomerGateways,
        Self::RoutingPolicies,
        Self::Ips,
        Self::Secrets,
        Self::Routes,
        Self::Links,
        Self::LinkRoutingPolicies,
        Self::RoutingPrefixes,
        Self::SecretOctets,
    ];

    /// The word in the API and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vpcs => "vpcs",
            Self::PrivateNetworks => "private_networks",
            Self::VpnGateways => "vpn_gateways",
            Self::Connections => "connections",
            Self::CustomerGateways => "customer_gateways",
            Self::RoutingPolicies => "routing_policies",
            Self::Ips => "ips",
            Self::Secrets => "secrets",
            Self::Routes => "routes",
            Self::Links => "links",
            Self::LinkRoutingPolicies => "link_routing_policies",
            Self::RoutingPrefixes => "routing_prefixes",
            Self::SecretOctets => "secret_octets",
        }
    }

    /// What a project may have unless the operator says otherwise.
    #[must_use]
    pub const fn default_quota(self) -> u64 {
        match self {
            Self::VpnGateways => 50,
            Self::Vpcs | Self::Links => 100,
            Self::PrivateNetworks => 500,
            Self::CustomerGateways => 500,
            Self::Connections
            | Self::RoutingPolicies
            | Self::Ips
            | Self::Secrets
            | Self::Routes
            | Self::LinkRoutingPolicies => 1000,
            // What a page of all policies has to carry, and each node of their project keeps.
            Self::RoutingPrefixes => 50_000,
            Self::SecretOctets => 64 << 20,
        }
    }
}

impl fmt::Display for QuotaResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for QuotaResource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|resource| resource.as_str() == text).ok_or_else(|| {
            let help = format!("there are: {}", Self::ALL.map(Self::as_str).join(", "));
            let name = "resource".to_owned();
            Error::InvalidArguments(vec![causeway_model::error::ArgumentError {
                name,
                reason: ArgumentReason::Unknown,
                help,
            }])
        })
    }
}

/// A project's quota for a kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The kind.
    pub resource: QuotaResource,
    /// At most.
    pub quota: u64,
    /// Now.
    pub used: u64,
    /// Whether the operator has left it as it is by default.
    pub is_default: bool,
}

async fn quota(reader: &mut causeway_store::Reader, project: ProjectId, resource: QuotaResource) -> Result<Quota> {
    let (set, used) = reader.quota(project, resource.as_str()).await?;
    let quota = set.unwrap_or(resource.default_quota());
    Ok(Quota { resource, quota, used, is_default: set.is_none() })
}

/// Refuses one more object of a kind than a project may have: `set` is what the operator has set, and how many it has.
pub(crate) fn within(resource: QuotaResource, (set, used): (Option<u64>, u64)) -> Result<()> {
    let quota = set.unwrap_or(resource.default_quota());
    if used < quota {
        return Ok(());
    }
    Err(Error::QuotasExceeded { resource: resource.to_string(), quota, current: used })
}

impl Unit<'_> {
    /// Refuses one more object of a kind than the project may have.
    pub(crate) async fn within_quota(&mut self, project: ProjectId, resource: QuotaResource) -> Result<()> {
        within(resource, self.quota(project, resource.as_str()).await?)
    }

    /// Refuses so much more of a kind than the project may have, before it is there.
    pub(crate) async fn within_amount(
        &mut self,
        project: ProjectId,
        resource: QuotaResource,
        more: usize,
    ) -> Result<()> {
        let (set, used) = self.quota(project, resource.as_str()).await?;
        let quota = set.unwrap_or(resource.default_quota());
        if more == 0 || used.saturating_add(more as u64) <= quota {
            return Ok(());
        }
        Err(Error::QuotasExceeded { resource: resource.to_string(), quota, current: used })
    }
}

impl Controller {
    /// A project's quotas: its tenants and operators.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn quotas(&self, caller: &Caller, project: ProjectId) -> Result<Vec<Quota>> {
        self.project(caller, project).await?;
        let mut reader = self.read().await?;
        let mut quotas = Vec::with_capacity(QuotaResource::ALL.len());
        for resource in QuotaResource::ALL {
            quotas.push(quota(&mut reader, project, resource).await?);
        }
        Ok(quotas)
    }

    /// Sets a project's quota; `None`: the default again. What is there already stays, even beyond it. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn set_quota(
        &self,
        caller: &Caller,
        project: ProjectId,
        resource: QuotaResource,
        limit: Option<u64>,
    ) -> Result<Quota> {
        operator(caller, "write", "quota")?;
        if limit.is_some_and(|limit| i64::try_from(limit).is_err()) {
            return Err(Error::constraint("quota", "too large"));
        }
        let mut unit = self.unit(caller, self.region()).await?;
        let project = unit.project(Some(project), "quota").await?.id;
        let before = quota(&mut unit, project, resource).await?;
        unit.set_quota(project, resource.as_str(), limit).await?;
        let set = quota(&mut unit, project, resource).await?;
        let fields = |quota: &Quota| json!({"quota": quota.quota, "is_default": quota.is_default});
        let details = and(changed(&fields(&before), &fields(&set)), [("resource", resource.to_string())]);
        unit.finish("set_quota", "project", project, &details).await?;
        Ok(set)
    }
}
