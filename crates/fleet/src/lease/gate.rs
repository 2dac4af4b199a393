//! What a node's kernel does for its lease.

use std::future::Future;
use std::time::Duration;

/// The kernel did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the packet filter of the lease: {0}")]
pub struct GateError(pub String);

/// The gate in a node's kernel: it lets the traffic of gateways pass while the element that counts is alive, whatever becomes of the process.
/// It is driven by one task, call after call. Numbers are those of [`super::Ask::number`]: 1, 2, … from each start of the process on.
///
/// Every call returns in bounded time. After an error the gate lets pass what it let pass before, or less; the next call of any kind tries
/// again to bring all of the kernel to what was asked for last.
pub trait Gate: Send + 'static {
    /// Nothing passes from now on, until a number is counted. Elements of before are forgotten, those of an earlier process too. This or
    /// [`Self::open`] is the first call of a process, before anything of a configuration is in force.
    fn close(&mut self) -> impl Future<Output = Result<(), GateError>> + Send;

    /// Everything passes, without a lease, and nothing of the gate is left in the kernel: there is no failover in the zone.
    fn open(&mut self) -> impl Future<Output = Result<(), GateError>> + Send;

    /// The element `number` is in the kernel when this returns, and lives for `lease`, counted by the kernel from a moment during this call.
    /// What passes does not change: an open gate stays open, what counts still counts.
    fn arm(&mut self, number: u64, lease: Duration) -> impl Future<Output = Result<(), GateError>> + Send;

    /// From now on everything passes while element `number` is alive, and nothing when it is not. If the gate was open, this closes it, in one
    /// step: nothing is lost that the element lets pass. A number whose element is dead already, or was never armed, lets nothing pass; that is
    /// no error. Numbers only grow.
    fn count(&mut self, number: u64) -> impl Future<Output = Result<(), GateError>> + Send;
}
