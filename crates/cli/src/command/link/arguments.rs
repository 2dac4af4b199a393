//! What the commands for links take.

use clap::{Args, ValueEnum};

use crate::command::bgp::BgpChanges;
use crate::command::interlink::megabits_of;
use crate::command::{Filters, New, Object, Objects};
use crate::wait::Wait;

/// How a link reaches the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LinkKind {
    /// Through a partner
    Hosted,
    /// On a dedicated connection
    SelfHosted,
}

impl LinkKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Hosted => "hosted",
            Self::SelfHosted => "self_hosted",
        }
    }
}

/// `link list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub(super) filters: Filters,
    /// Only those with this status
    #[arg(long, value_name = "STATUS")]
    pub(super) status: Option<String>,
    /// Only those of this kind
    #[arg(long, value_enum)]
    pub(super) kind: Option<LinkKind>,
    /// Only those at this PoP
    #[arg(long, value_name = "NAME|ID")]
    pub(super) pop: Option<String>,
    /// Only those through this partner
    #[arg(long, value_name = "NAME|ID")]
    pub(super) partner: Option<String>,
    /// Only those on this dedicated connection
    #[arg(long, value_name = "NAME|ID")]
    pub(super) connection: Option<String>,
    /// Only those with this VPC
    #[arg(long, value_name = "NAME|ID")]
    pub(super) vpc: Option<String>,
    /// Only those with this routing policy
    #[arg(long, value_name = "NAME|ID")]
    pub(super) policy: Option<String>,
    /// Only the one with this pairing key
    #[arg(long, value_name = "KEY")]
    pub(super) pairing_key: Option<String>,
}

/// `link create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    pub(super) new: New,
    /// Where it begins; `causeway pop list` lists the PoPs
    #[arg(long, value_name = "NAME|ID")]
    pub(super) pop: String,
    /// Bits per second in each direction, like 500M or 1G; one of those that the PoP offers
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    pub(super) bandwidth: u64,
    /// The partner that hosts it; `causeway partner list` lists them
    #[arg(long, value_name = "NAME|ID", required_unless_present = "connection", conflicts_with = "connection")]
    pub(super) partner: Option<String>,
    /// The dedicated connection that it is on
    #[arg(long, value_name = "NAME|ID")]
    pub(super) connection: Option<String>,
    /// The AS number of your router, on a dedicated connection [default: the service chooses]
    #[arg(long, value_name = "ASN", requires = "connection")]
    pub(super) asn: Option<u32>,
    /// The VLAN, on a dedicated connection [default: the service chooses]
    #[arg(long, value_name = "VLAN", requires = "connection")]
    pub(super) vlan: Option<u32>,
    /// A routing policy for links; at most one for each family. BGP runs for the families that have one
    #[arg(long = "policy", value_name = "NAME|ID")]
    pub(super) policies: Vec<String>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `link edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    pub(super) link: Object,
    #[command(flatten)]
    pub(super) changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(super) struct Changes {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    pub(super) no_tags: bool,
    /// The AS number of your router from now on, on a dedicated connection
    #[arg(long, value_name = "ASN")]
    pub(super) asn: Option<u32>,
}

/// `link delete`
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    pub(super) links: Objects,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `link state`
#[derive(Args)]
pub struct State {
    #[command(flatten)]
    pub(super) link: Object,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Commands after which the node has something to do.
#[derive(Args)]
pub struct Change {
    #[command(flatten)]
    pub(super) link: Object,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `link set-options`
#[derive(Args)]
pub struct SetOptions {
    #[command(flatten)]
    pub(super) link: Object,
    #[command(flatten)]
    pub(super) changes: BgpChanges,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `link attach-vpc`
#[derive(Args)]
pub struct AttachVpc {
    /// The link's id, or exact name
    #[arg(value_name = "LINK")]
    pub(super) link: String,
    /// The VPC's id, or exact name
    #[arg(value_name = "VPC")]
    pub(super) vpc: String,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `link attach-policy`, `set-policy` and `detach-policy`
#[derive(Args)]
pub struct AttachPolicy {
    /// The link's id, or exact name
    #[arg(value_name = "LINK")]
    pub(super) link: String,
    /// The routing policy's id, or exact name
    #[arg(value_name = "POLICY")]
    pub(super) policy: String,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `link lock`
#[derive(Args)]
pub struct Lock {
    #[command(flatten)]
    pub(super) link: Object,
    /// Why; kept in the audit records
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}
