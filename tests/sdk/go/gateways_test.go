package conformance

import (
	"fmt"
	"slices"
	"testing"

	ipam "github.com/scaleway/scaleway-sdk-go/api/ipam/v1"
	s2s "github.com/scaleway/scaleway-sdk-go/api/s2s_vpn/v1alpha1"
	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

func TestGatewayTypes(t *testing.T) {
	all := must(vpn.ListVpnGatewayTypes(&s2s.ListVpnGatewayTypesRequest{PageSize: pointer(uint32(1))}, scw.WithAllPages()))(t)
	equal(t, "the number of types", uint64(len(all.GatewayTypes)), all.TotalCount)
	position := slices.IndexFunc(all.GatewayTypes, func(kind *s2s.GatewayType) bool { return kind.Name == "VGW-S" })
	if position < 0 {
		t.Fatal("there is no VGW-S")
	}
	small := all.GatewayTypes[position]
	if small.Bandwidth == 0 || small.AllowedConnections == 0 || len(small.Zones) == 0 {
		t.Errorf("incomplete: %+v", small)
	}
	equal(t, "region", small.Region, region)
}

func TestGateway(t *testing.T) {
	read := must(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: gateway.ID}))(t)
	organization, _ := client.GetDefaultOrganizationID()
	project, _ := client.GetDefaultProjectID()
	equal(t, "organization", read.OrganizationID, organization)
	equal(t, "project", read.ProjectID, project)
	equal(t, "name", read.Name, run)
	equal(t, "type", read.GatewayType, "VGW-S")
	equal(t, "network", read.PrivateNetworkID, network.ID)
	zone, _ := client.GetDefaultZone()
	equal(t, "zone", read.Zone, zone)
	equal(t, "region", read.Region, region)
	equal(t, "the SRN, made with /metadata", read.Srn, fmt.Sprintf("srn://s2s-vpn.scw.eu/zones/%s/vpn-gateways/%s", zone, read.ID))
	if read.PrivateConfig != nil {
		t.Error("production never sends private_config")
	}
	if read.PublicConfig == nil || read.PublicConfig.IpamIPv4ID == nil || read.PublicConfig.IpamIPv6ID == nil {
		t.Fatalf("not dual stack: %+v", read.PublicConfig)
	}
	for id, want := range map[string]struct {
		bits   int
		public bool
	}{
		*read.PublicConfig.IpamIPv4ID: {32, true},
		*read.PublicConfig.IpamIPv6ID: {128, true},
		read.IpamPrivateIPv4ID:        {24, false},
		read.IpamPrivateIPv6ID:        {64, false},
	} {
		ip := must(ips.GetIP(&ipam.GetIPRequest{IPID: id}))(t)
		bits, _ := ip.Address.Mask.Size()
		equal(t, "mask of "+ip.Address.String(), bits, want.bits)
		if ip.Resource == nil || ip.Resource.ID != read.ID || ip.Resource.Type != ipam.ResourceTypeVpnGateway {
			t.Errorf("resource of %s: %+v", ip.Address.String(), ip.Resource)
		}
		equal(t, "a zone in "+ip.Address.String(), ip.Zone != nil, want.public)
		equal(t, "a subnet in "+ip.Address.String(), ip.Source.SubnetID != nil, !want.public)
	}

	// Names and tags are all that can change; an empty list of tags removes them.
	_ = must(settled(gateway.ID))(t)
	changed := must(vpn.UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{GatewayID: gateway.ID, Name: pointer(run + "-2")}))(t)
	equal(t, "name", changed.Name, run+"-2")
	same(t, "tags", changed.Tags, []string{"go", run})
	if !changed.UpdatedAt.After(*changed.CreatedAt) {
		t.Error("updated_at did not move")
	}
	_ = must(settled(gateway.ID))(t)
	changed = must(vpn.UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{GatewayID: gateway.ID, Tags: &[]string{}}))(t)
	equal(t, "tags", len(changed.Tags), 0)
	_ = must(settled(gateway.ID))(t)
	changed = must(vpn.UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{
		GatewayID: gateway.ID, Name: pointer(run), Tags: &[]string{"go", run},
	}))(t)
	same(t, "tags", changed.Tags, []string{"go", run})
}

func TestGatewayWithChosenAddresses(t *testing.T) {
	book := func(source *ipam.Source, ipv6 bool) *ipam.IP {
		ip := must(ips.BookIP(&ipam.BookIPRequest{Source: source, IsIPv6: ipv6}))(t)
		t.Cleanup(func() {
			if err := ips.ReleaseIP(&ipam.ReleaseIPRequest{IPID: ip.ID}); err != nil {
				t.Errorf("releasing %s: %v", ip.Address.String(), err)
			}
		})
		return ip
	}
	zone, _ := client.GetDefaultZone()
	public := book(&ipam.Source{Zonal: pointer(zone.String())}, true)
	private := book(&ipam.Source{PrivateNetworkID: &network.ID}, false)
	equal(t, "a subnet, though the network was named", private.Source.SubnetID != nil && private.Source.PrivateNetworkID == nil, true)
	made := must(vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
		Name: run + "-own", GatewayType: "VGW-S", PrivateNetworkID: network.ID, IpamPrivateIPv4ID: &private.ID,
		PublicTunnelConfig: &s2s.CreateVpnGatewayRequestPublicTunnelConfig{
			SingleIPv6Tunnel: &s2s.CreateVpnGatewayRequestSingleIPTunnel{IpamID: &public.ID},
		},
	}))(t)
	t.Cleanup(func() { succeeds(t, removeGateway(made.ID)) })
	equal(t, "private address", made.IpamPrivateIPv4ID, private.ID)
	equal(t, "an IPv4 address", made.PublicConfig.IpamIPv4ID == nil, true)
	equal(t, "public address", *made.PublicConfig.IpamIPv6ID, public.ID)
	read := must(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: made.ID}))(t)
	equal(t, "private address when it is read", read.IpamPrivateIPv4ID, private.ID)
	equal(t, "public address when it is read", *read.PublicConfig.IpamIPv6ID, public.ID)
}

func TestGatewayLists(t *testing.T) {
	other := must(vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
		Name: run + "-list", GatewayType: "VGW-M", PrivateNetworkID: network.ID, Tags: []string{run, "with space"},
		PublicTunnelConfig: &s2s.CreateVpnGatewayRequestPublicTunnelConfig{
			DualIPv4v6Tunnel: &s2s.CreateVpnGatewayRequestDualIPTunnel{},
		},
	}))(t)
	t.Cleanup(func() { succeeds(t, removeGateway(other.ID)) })
	_ = must(settled(other.ID))(t)
	for name, request := range map[string]*s2s.ListVpnGatewaysRequest{
		"page size":   {PageSize: pointer(uint32(1)), Tags: []string{run}},
		"name":        {Name: &run},
		"network":     {PrivateNetworkIDs: []string{network.ID}},
		"types":       {GatewayTypes: []string{"VGW-S", "VGW-M"}, Name: &run},
		"no status":   {Statuses: []s2s.VpnGatewayStatus{s2s.VpnGatewayStatusUnknownStatus}, Name: &run},
		"all of them": {OrderBy: s2s.ListVpnGatewaysRequestOrderByCreatedAtAsc, Tags: []string{run}},
	} {
		got := must(vpn.ListVpnGateways(request, scw.WithAllPages()))(t)
		if len(got.Gateways) != 2 || got.TotalCount != 2 || got.Gateways[0].ID != gateway.ID || got.Gateways[1].ID != other.ID {
			t.Errorf("%s: %d of %d: %+v", name, len(got.Gateways), got.TotalCount, got.Gateways)
		}
	}
	for name, request := range map[string]*s2s.ListVpnGatewaysRequest{
		"type":           {GatewayTypes: []string{"VGW-M"}, Name: &run},
		"tag":            {Tags: []string{"with space"}, Name: &run},
		"of two tags":    {Tags: []string{"with space", "nobody's"}, Name: &run},
		"name":           {Name: pointer(run + "-LIST")},
		"second page":    {Page: pointer(int32(2)), PageSize: pointer(uint32(1)), Name: &run},
		"newest first":   {OrderBy: s2s.ListVpnGatewaysRequestOrderByCreatedAtDesc, PageSize: pointer(uint32(1)), Name: &run},
		"by name":        {OrderBy: s2s.ListVpnGatewaysRequestOrderByNameDesc, PageSize: pointer(uint32(1)), Name: &run},
		"by type":        {OrderBy: s2s.ListVpnGatewaysRequestOrderByTypeAsc, PageSize: pointer(uint32(1)), Name: &run},
		"by type, down":  {OrderBy: s2s.ListVpnGatewaysRequestOrderByTypeDesc, Page: pointer(int32(2)), PageSize: pointer(uint32(1)), Name: &run},
		"in the project": {GatewayTypes: []string{"VGW-M"}, ProjectID: &gateway.ProjectID, OrganizationID: &gateway.OrganizationID, Name: &run},
	} {
		got := must(vpn.ListVpnGateways(request))(t)
		if len(got.Gateways) != 1 || got.Gateways[0].ID != other.ID {
			t.Errorf("%s: %d of %d: %+v", name, len(got.Gateways), got.TotalCount, got.Gateways)
		}
	}
	none := must(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{Page: pointer(int32(99)), Name: &run}))(t)
	equal(t, "beyond the last page", len(none.Gateways), 0)
	equal(t, "the count there", none.TotalCount, 2)
	none = must(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{ProjectID: pointer(missing)}))(t)
	equal(t, "another project's", none.TotalCount, 0)
}

func TestNetwork(t *testing.T) {
	read := must(vpcs.GetPrivateNetwork(&vpc.GetPrivateNetworkRequest{PrivateNetworkID: network.ID}))(t)
	equal(t, "subnets", len(read.Subnets), 2)
	equal(t, "the first", read.Subnets[0].Subnet.String(), "10.79.0.0/24")
	parent := must(vpcs.GetVPC(&vpc.GetVPCRequest{VpcID: network.VpcID}))(t)
	equal(t, "routing, though false was sent", parent.RoutingEnabled, true)
	equal(t, "networks", parent.PrivateNetworkCount, 1)
	for range 2 {
		made := must(vpcs.CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{Name: run + "-more", VpcID: &parent.ID}))(t)
		t.Cleanup(func() {
			succeeds(t, vpcs.DeletePrivateNetwork(&vpc.DeletePrivateNetworkRequest{PrivateNetworkID: made.ID}))
		})
		equal(t, "subnets", len(made.Subnets), 2)
	}
	all := must(vpcs.ListPrivateNetworks(&vpc.ListPrivateNetworksRequest{
		VpcID: &parent.ID, PageSize: pointer(uint32(1)),
	}, scw.WithAllPages()))(t)
	equal(t, "networks on all pages", len(all.PrivateNetworks), 3)
	subnets := must(vpcs.ListSubnets(&vpc.ListSubnetsRequest{VpcID: &parent.ID, PageSize: pointer(uint32(2))}, scw.WithAllPages()))(t)
	equal(t, "subnets on all pages", len(subnets.Subnets), 6)
	found := must(vpcs.ListVPCs(&vpc.ListVPCsRequest{Name: &run, PageSize: pointer(uint32(1))}, scw.WithAllPages()))(t)
	equal(t, "VPCs", found.TotalCount, 1)
	addresses := must(ips.ListIPs(&ipam.ListIPsRequest{
		ResourceID: &gateway.ID, Attached: pointer(true), PageSize: pointer(uint32(1)),
	}, scw.WithAllPages()))(t)
	equal(t, "addresses of the gateway", len(addresses.IPs), 4)
}
