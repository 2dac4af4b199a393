//! One use case that writes: its transaction, who asks, and the time that everything in it has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use causeway_model::command::{NewMeta, Rename};
use causeway_model::resource::{Caller, Meta};
use causeway_model::{ConnectionId, Error, NodeId, ProjectId, Timestamp, VpnGatewayId};
use causeway_store::{GatewayRecord, Kind, Project, Writer};
use uuid::Uuid;

use crate::access::denied;
use crate::{Controller, Result, status};

/// The transaction of one use case. Dropped without [`Unit::finish`], it leaves nothing behind.
pub(crate) struct Unit<'a> {
    pub(crate) controller: &'a Controller,
    pub(crate) caller: &'a Caller,
    pub(crate) now: Timestamp,
    /// The project that it makes something in.
    project: Option<ProjectId>,
    writer: Writer,
}

impl Deref for Unit<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Unit<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

pub(crate) fn missing_project(id: ProjectId) -> Error {
    Error::NotFound { resource: "project_id", id: id.to_string() }
}

impl Controller {
    /// Begins a use case that writes.
    pub(crate) async fn unit<'a>(&'a self, caller: &'a Caller, region: &str) -> Result<Unit<'a>> {
        self.in_region(region)?;
        let writer = self.inner.store.write().await?.gathering();
        // The time is taken once the turn has come, so that times follow the order of the changes.
        Ok(Unit { controller: self, caller, now: self.now(), project: None, writer })
    }
}

impl Unit<'_> {
    /// The project that a new object shall belong to.
    pub(crate) async fn project(&mut self, wished: Option<ProjectId>, resource: &str) -> Result<Project> {
        let id = self.wished_project(wished, resource)?;
        self.writer.project(id).await?.ok_or_else(|| missing_project(id))
    }

    /// As [`Self::project`], whether there is one or not.
    pub(crate) fn wished_project(&self, wished: Option<ProjectId>, resource: &str) -> Result<ProjectId> {
        let id = wished.unwrap_or(self.caller.project_id);
        if self.caller.owns(id) { Ok(id) } else { Err(denied("write", resource)) }
    }

    /// The common fields of a new object of `project`.
    pub(crate) fn meta(&mut self, project: &Project, new: NewMeta) -> Meta {
        self.project = Some(project.id);
        Meta {
            organization_id: project.organization_id,
            project_id: project.id,
            region: self.controller.inner.service.region.clone(),
            name: new.name,
            tags: new.tags,
            created_at: self.now,
            updated_at: self.now,
        }
    }

    /// Changes name and tags as asked and the time of change in any case.
    pub(crate) async fn rename(&mut self, kind: Kind, id: Uuid, meta: &mut Meta, rename: Rename) -> Result<()> {
        if let Some(name) = rename.name {
            meta.name = name;
        }
        if let Some(tags) = rename.tags {
            meta.tags = tags;
        }
        meta.updated_at = self.now;
        Ok(self.writer.set_meta(kind, id, meta).await?)
    }

    /// A node has something new to run.
    pub(crate) async fn bump_node(&mut self, node: Option<NodeId>) -> Result<()> {
        if let Some(node) = node {
            self.writer.advance_node(node).await?;
        }
        Ok(())
    }

    /// The gateway's own configuration or its set of connections has changed.
    pub(crate) async fn bump_gateway(&mut self, gateway: &GatewayRecord) -> Result<()> {
        let now = self.now;
        self.writer.bump_gateway(gateway.gateway.id, now).await?;
        self.bump_node(gateway.node).await
    }

    /// Connections have changed, directly or through what they share: their revisions and those of the nodes that carry them.
    pub(crate) async fn bump_connections(&mut self, ids: &[ConnectionId]) -> Result<()> {
        let now = self.now;
        let mut gateways: BTreeMap<VpnGatewayId, Vec<ConnectionId>> = BTreeMap::new();
        for id in ids {
            self.writer.bump_connection(*id, now).await?;
            if let Some(record) = self.writer.connection_by_id(*id).await? {
                gateways.entry(record.connection.vpn_gateway_id).or_default().push(*id);
            }
        }
        let carriers = self.writer.carriers(gateways.keys().copied()).await?;
        let nodes: BTreeSet<NodeId> = carriers.iter().filter_map(|record| record.node).collect();
        for node in nodes {
            self.bump_node(Some(node)).await?;
        }
        for (id, connections) in gateways {
            status::refresh_some(&mut self.writer, id, &connections, now).await?;
        }
        Ok(())
    }

    /// Refreshes the copies of the statuses of a gateway whose configuration has changed and of these of its connections: no other one's
    /// depends on it.
    pub(crate) async fn refresh_some(&mut self, id: VpnGatewayId, connections: &[ConnectionId]) -> Result<()> {
        status::refresh_some(&mut self.writer, id, connections, self.now).await
    }

    /// Refreshes the copies of the statuses of a gateway and its connections.
    pub(crate) async fn refresh(&mut self, id: VpnGatewayId) -> Result<()> {
        status::refresh(&mut self.writer, id, self.now).await
    }

    /// Records what became of another object together with this use case's own.
    pub(crate) async fn also(
        &mut self,
        project: ProjectId,
        action: &str,
        resource: &str,
        id: impl ToString,
        details: &[(&str, String)],
    ) -> Result<()> {
        let details = details.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let (caller, now) = (self.caller, self.now);
        Ok(self.writer.record(caller, Some(project), now, action, resource, &id.to_string(), &details).await?)
    }

    /// Names the project of an object that is about to go, for its record.
    pub(crate) fn belongs_to(&mut self, project: ProjectId) {
        self.project = Some(project);
    }

    /// Records what was done, makes it durable and wakes whoever waits for it.
    pub(crate) async fn finish(
        mut self,
        action: &str,
        resource: &str,
        id: impl ToString,
        details: &[(&str, String)],
    ) -> Result<()> {
        let details: BTreeMap<String, String> =
            details.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.writer.record(self.caller, self.project, self.now, action, resource, &id.to_string(), &details).await?;
        self.writer.commit().await?;
        self.controller.announce();
        Ok(())
    }
}
