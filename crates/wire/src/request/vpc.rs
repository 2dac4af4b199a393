//! VPC bodies (wire-api.md §5).

use causeway_model::command::{NewPrivateNetwork, NewVpc, Rename};
use causeway_model::{Error, Family};

use super::Body;

impl Body {
    /// Create a VPC. Routing is always on; `enable_routing` is read for its form only.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_vpc(&self) -> Result<NewVpc, Error> {
        self.read(|fields| {
            fields.boolean("enable_routing");
            fields.not_offered("enable_transitivity");
            NewVpc { meta: fields.meta() }
        })
    }

    /// Name and tags: the update of a VPC.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn rename(&self) -> Result<Rename, Error> {
        self.read(|fields| fields.rename())
    }

    /// Create a Private Network.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_private_network(&self) -> Result<NewPrivateNetwork, Error> {
        self.read(|fields| {
            let subnets = fields.networks("subnets", 2).unwrap_or_default();
            for (index, subnet) in subnets.iter().enumerate() {
                if subnet.trunc() != *subnet {
                    let help = format!("{subnet} has host bits set; the subnet is {}", subnet.trunc());
                    fields.constraint(&format!("subnets[{index}]"), help);
                }
                let same = |other: &&ipnet::IpNet| Family::of_net(other) == Family::of_net(subnet);
                if subnets.iter().take(index).any(|other| same(&other)) {
                    fields.constraint(&format!("subnets[{index}]"), "give at most one subnet of each family");
                }
            }
            NewPrivateNetwork {
                meta: fields.meta(),
                subnets,
                vpc_id: fields.id("vpc_id"),
                default_route_propagation_enabled: fields.boolean("default_route_propagation_enabled").unwrap_or(false),
            }
        })
    }

    /// Update a Private Network: name, tags, and the propagation of the default route.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_private_network(&self) -> Result<(Rename, Option<bool>), Error> {
        self.read(|fields| (fields.rename(), fields.boolean("default_route_propagation_enabled")))
    }
}
