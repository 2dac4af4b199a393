package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	interlink "github.com/scaleway/scaleway-sdk-go/api/interlink/v1beta1"
	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

// offer is what links are ordered from: the operator adds it, without any SDK, and takes it away again.
type offer struct {
	links                      *interlink.API
	name                       string
	pop, partner, dedicated    string
	partnerAccess, partnerSkey string
}

// told is the document that the extension API answers with.
func told(t *testing.T, key, method, path string, body any) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	succeeds(t, err)
	answer := map[string]any{}
	if octets := extended(t, key, method, path, string(text)); len(octets) > 0 {
		succeeds(t, json.Unmarshal(octets, &answer))
	}
	return answer
}

type fields map[string]any

func offered(t *testing.T) *offer {
	t.Helper()
	operator := environment(t, "SCW_SECRET_KEY")
	project := environment(t, "SCW_DEFAULT_PROJECT_ID")
	add := func(kind string, of fields) string {
		id := told(t, operator, "POST", "/operator/"+kind, of)["id"].(string)
		t.Cleanup(func() {
			// Links that both sides have deleted can be read for a day, and keep for so long what they were ordered from.
			status, answer := exchanged(t, operator, "DELETE", "/operator/"+kind+"/"+id, "{}")
			if status != 204 && !strings.Contains(string(answer), "resource_still_in_use") {
				t.Errorf("%s %s: %d %s", kind, id, status, answer)
			}
		})
		return id
	}
	for _, size := range []int{50, 100, 200} {
		told(t, operator, "PUT", fmt.Sprintf("/operator/link-bandwidths/%d", size), fields{"price_per_hour": 1000})
	}
	made := &offer{links: interlink.NewAPI(client), name: run + "-" + t.Name()}
	made.pop = add("pops", fields{
		"name": "- " + made.name, "city": "Paris", "hosting_provider_name": "Host of " + made.name, "link_bandwidths_mbps": []int{50, 100, 200},
	})
	made.partner = add("partners", fields{"name": made.name + "-ix", "asn": 39801, "contact_email": "l2@example.net"})
	// No two ports share a wire, whatever their PoPs.
	vlan := func(end string) fields { return fields{"kind": "vlan", "interface": "e" + made.pop[:8] + end} }
	add("ports", fields{
		"name": made.name + "-partner", "pop_id": made.pop, "partner_id": made.partner, "attachment": vlan("a"), "capacity_mbps": 1000,
	})
	made.dedicated = add("dedicated-connections", fields{
		"name": made.name + "-dedicated", "project_id": project, "pop_id": made.pop, "bandwidth_mbps": 200, "tags": []string{run},
	})
	add("ports", fields{
		"name": made.name + "-own", "pop_id": made.pop, "connection_id": made.dedicated, "attachment": vlan("b"), "capacity_mbps": 200,
	})
	key := told(t, operator, "POST", "/operator/api-keys", fields{"role": "partner", "partner_id": made.partner, "project_id": project})
	made.partnerAccess, made.partnerSkey = key["access_key"].(string), key["secret_key"].(string)
	t.Cleanup(func() { told(t, operator, "DELETE", "/operator/api-keys/"+made.partnerAccess, fields{}) })
	return made
}

// answer is what the partner does with a link that is addressed to it.
func (o *offer) answer(t *testing.T, link, verb string, body fields) {
	t.Helper()
	told(t, o.partnerSkey, "POST", "/partner/links/"+link+"/"+verb, body)
}

// wanted is the order of a hosted link, to be changed by the caller.
func (o *offer) wanted() *interlink.CreateLinkRequest {
	return &interlink.CreateLinkRequest{Name: run, Tags: []string{"go", run}, PopID: o.pop, BandwidthMbps: 50, PartnerID: &o.partner}
}

// own is the order of a self-hosted one.
func (o *offer) own() *interlink.CreateLinkRequest {
	request := o.wanted()
	request.PartnerID, request.ConnectionID = nil, &o.dedicated
	return request
}

func (o *offer) order(t *testing.T, request *interlink.CreateLinkRequest) *interlink.Link {
	t.Helper()
	link := must(o.links.CreateLink(request))(t)
	t.Cleanup(func() {
		left, err := o.links.GetLink(&interlink.GetLinkRequest{LinkID: link.ID})
		if err != nil || left.Status == interlink.LinkStatusDeleted || left.Status == interlink.LinkStatusDeprovisioning {
			return
		}
		must(o.links.DisableRoutePropagation(&interlink.DisableRoutePropagationRequest{LinkID: link.ID}))(t)
		must(o.links.DeleteLink(&interlink.DeleteLinkRequest{LinkID: link.ID}))(t)
	})
	return link
}

func (o *offer) settled(t *testing.T, id string) *interlink.Link {
	t.Helper()
	return must(o.links.WaitForLink(&interlink.WaitForLinkRequest{
		LinkID: id, Region: region, Timeout: scw.TimeDurationPtr(timeout), RetryInterval: scw.TimeDurationPtr(50 * time.Millisecond),
	}))(t)
}

// inService is what a link in service that should have `status` has: without a node (the tests' user is not root, say) nobody carries it.
func inService(t *testing.T, status interlink.LinkStatus) interlink.LinkStatus {
	t.Helper()
	nodes := map[string]any{}
	succeeds(t, json.Unmarshal(extended(t, environment(t, "SCW_SECRET_KEY"), "GET", "/operator/nodes", ""), &nodes))
	if nodes["total_count"] == 0.0 {
		return interlink.LinkStatusAllDown
	}
	return status
}

func (o *offer) policy(t *testing.T, ipv6 bool) *interlink.RoutingPolicy {
	t.Helper()
	in := cidr("10.99.0.0/16")
	if ipv6 {
		in = cidr("fd99::/48")
	}
	made := must(o.links.CreateRoutingPolicy(&interlink.CreateRoutingPolicyRequest{
		Name: run, Tags: []string{run}, IsIPv6: ipv6, PrefixFilterIn: []scw.IPNet{in},
	}))(t)
	t.Cleanup(func() {
		succeeds(t, o.links.DeleteRoutingPolicy(&interlink.DeleteRoutingPolicyRequest{RoutingPolicyID: made.ID}))
	})
	return made
}

// wrongArguments are the names of those that the order is refused for.
func wrongArguments(t *testing.T, err error) []string {
	t.Helper()
	var refused *scw.InvalidArgumentsError
	if !errors.As(err, &refused) {
		t.Fatalf("%v%s is no InvalidArgumentsError", err, body(err))
	}
	names := []string{}
	for _, detail := range refused.Details {
		names = append(names, detail.ArgumentName)
	}
	return names
}

func TestWhatLinksAreOrderedFrom(t *testing.T) {
	o := offered(t)
	links := o.links
	pop := must(links.GetPop(&interlink.GetPopRequest{PopID: o.pop}))(t)
	same(t, "the PoP", []string{pop.Name, pop.City}, []string{"- " + o.name, "Paris"})
	same(t, "its sizes", pop.AvailableLinkBandwidthsMbps, []uint64{50, 100, 200})
	found := must(links.ListPops(&interlink.ListPopsRequest{
		Name: &o.name, PartnerID: &o.partner, LinkBandwidthMbps: pointer(uint64(100)), DedicatedAvailable: pointer(true),
		L3ConnectivityPartners: pointer(false), HostingProviderName: pointer("host of " + o.name),
	}, scw.WithAllPages()))(t)
	equal(t, "the number of PoPs", len(found.Pops), 1)
	partner := must(links.GetPartner(&interlink.GetPartnerRequest{PartnerID: o.partner}))(t)
	same(t, "the partner", []any{partner.Name, partner.L3Connectivity, partner.Region}, []any{o.name + "-ix", false, region})
	there := must(links.ListPartners(&interlink.ListPartnersRequest{PopIDs: []string{o.pop, missing}}))(t)
	equal(t, "the number of partners", there.TotalCount, uint64(1))
	own := must(links.WaitForDedicatedConnection(&interlink.WaitForDedicatedConnectionRequest{
		ConnectionID: o.dedicated, Region: region, Timeout: scw.TimeDurationPtr(timeout), RetryInterval: scw.TimeDurationPtr(50 * time.Millisecond),
	}))(t)
	equal(t, "the dedicated connection", own.Status, interlink.DedicatedConnectionStatusActive)
	same(t, "its VLANs", *own.VlanRange, interlink.Range{Start: 1500, End: 3899})
	read := must(links.GetDedicatedConnection(&interlink.GetDedicatedConnectionRequest{ConnectionID: o.dedicated}))(t)
	equal(t, "its name", read.Name, o.name+"-dedicated")
	listed := must(links.ListDedicatedConnections(&interlink.ListDedicatedConnectionsRequest{Name: &o.name, Tags: []string{run}, PopID: &o.pop}))(t)
	equal(t, "the number of dedicated connections", listed.TotalCount, uint64(1))
}

func TestHostedLink(t *testing.T) {
	o := offered(t)
	links := o.links
	link := o.order(t, o.wanted())
	equal(t, "the status", link.Status, interlink.LinkStatusRequested)
	equal(t, "after waiting", o.settled(t, link.ID).Status, interlink.LinkStatusRequested)
	same(t, "the AS numbers", []uint32{link.ScwBgpConfig.Asn, link.PeerBgpConfig.Asn}, []uint32{12876, 39801})
	if link.Self != nil || link.Partner == nil || !pattern.MatchString(link.Partner.PairingKey) {
		t.Errorf("the host is %+v, %+v", link.Partner, link.Self)
	}
	kind := interlink.LinkKindHosted
	found := must(links.ListLinks(&interlink.ListLinksRequest{Name: &run, PairingKey: &link.Partner.PairingKey, Kind: &kind}))(t)
	equal(t, "the number of links", found.TotalCount, uint64(1))
	changed := must(links.UpdateLink(&interlink.UpdateLinkRequest{LinkID: link.ID, Name: pointer(run + "-2")}))(t)
	same(t, "what an update leaves", changed.Tags, []string{"go", run})

	network := must(vpcs.CreateVPC(&vpc.CreateVPCRequest{Name: run}))(t)
	attached := must(links.AttachVpc(&interlink.AttachVpcRequest{LinkID: link.ID, VpcID: network.ID}))(t)
	equal(t, "the VPC", *attached.VpcID, network.ID)
	must(links.EnableRoutePropagation(&interlink.EnableRoutePropagationRequest{LinkID: link.ID}))(t)
	_, err := links.DeleteLink(&interlink.DeleteLinkRequest{LinkID: link.ID})
	var unmet *scw.PreconditionFailedError
	if !errors.As(err, &unmet) {
		t.Errorf("deleting with propagation on: %v", err)
	}
	off := must(links.DisableRoutePropagation(&interlink.DisableRoutePropagationRequest{LinkID: link.ID}))(t)
	equal(t, "propagation", off.EnableRoutePropagation, false)
	detached := must(links.DetachVpc(&interlink.DetachVpcRequest{LinkID: link.ID}))(t)
	equal(t, "the VPC", detached.VpcID, nil)
	succeeds(t, vpcs.DeleteVPC(&vpc.DeleteVPCRequest{VpcID: network.ID}))

	o.answer(t, link.ID, "accept", fields{})
	o.answer(t, link.ID, "provisioned", fields{})
	equal(t, "provisioned", o.settled(t, link.ID).Status, inService(t, interlink.LinkStatusActive))
	deleted := must(links.DeleteLink(&interlink.DeleteLinkRequest{LinkID: link.ID}))(t)
	equal(t, "deleted on one side", deleted.Status, interlink.LinkStatusDeprovisioning)
	o.answer(t, link.ID, "deprovisioned", fields{})
	gone := must(links.GetLink(&interlink.GetLinkRequest{LinkID: link.ID}))(t)
	equal(t, "deleted on both", gone.Status, interlink.LinkStatusDeleted)
}

func TestRefusedLink(t *testing.T) {
	o := offered(t)
	link := o.order(t, o.wanted())
	o.answer(t, link.ID, "refuse", fields{"reason": "no port is free"})
	refused := must(o.links.GetLink(&interlink.GetLinkRequest{LinkID: link.ID}))(t)
	equal(t, "the status", refused.Status, interlink.LinkStatusRefused)
	equal(t, "the reason", *refused.Partner.DisapprovedReason, "no port is free")
	deleted := must(o.links.DeleteLink(&interlink.DeleteLinkRequest{LinkID: link.ID}))(t)
	equal(t, "the answer to the deletion", deleted.Status, interlink.LinkStatusDeleted)
	_, err := o.links.GetLink(&interlink.GetLinkRequest{LinkID: link.ID})
	var gone *scw.ResourceNotFoundError
	if !errors.As(err, &gone) || gone.Resource != "link" || gone.ResourceID != link.ID {
		t.Errorf("after the deletion: %v", err)
	}
}

func TestSelfHostedLinkAndItsPolicies(t *testing.T) {
	o := offered(t)
	links := o.links
	v4, other, v6 := o.policy(t, false), o.policy(t, false), o.policy(t, true)
	request := o.own()
	request.Vlan, request.PeerAsn, request.RoutingPolicyV4ID = pointer(uint32(1503)), pointer(uint32(65001)), &v4.ID
	link := o.order(t, request)
	link = o.settled(t, link.ID)
	same(t, "the link", []any{link.Status, link.Vlan, link.Self.ConnectionID}, []any{inService(t, interlink.LinkStatusReady), 1503, o.dedicated})
	same(t, "its sessions", []any{link.BgpV4Status, link.BgpV6Status}, []any{interlink.BgpStatusDown, interlink.BgpStatusDisabled})
	both := must(links.AttachRoutingPolicy(&interlink.AttachRoutingPolicyRequest{LinkID: link.ID, RoutingPolicyID: v6.ID}))(t)
	same(t, "the policies", []string{*both.RoutingPolicyV4ID, *both.RoutingPolicyV6ID}, []string{v4.ID, v6.ID})
	set := must(links.SetRoutingPolicy(&interlink.SetRoutingPolicyRequest{LinkID: link.ID, RoutingPolicyID: other.ID}))(t)
	equal(t, "the policy in its place", *set.RoutingPolicyV4ID, other.ID)
	detached := must(links.DetachRoutingPolicy(&interlink.DetachRoutingPolicyRequest{LinkID: link.ID, RoutingPolicyID: v6.ID}))(t)
	equal(t, "the detached policy", detached.RoutingPolicyV6ID, nil)
	peer := must(links.UpdateLink(&interlink.UpdateLinkRequest{LinkID: link.ID, PeerAsn: pointer(uint32(65002))}))(t)
	same(t, "an update", []any{peer.PeerBgpConfig.Asn, peer.Name}, []any{65002, run})

	_, err := links.CreateLink(request)
	same(t, "a VLAN that is taken", wrongArguments(t, err), []string{"vlan"})
	request = o.own()
	request.BandwidthMbps = 200
	_, err = links.CreateLink(request)
	var stock *scw.OutOfStockError
	if !errors.As(err, &stock) {
		t.Errorf("more than is left: %v%s", err, body(err))
	}

	found := must(links.ListRoutingPolicies(&interlink.ListRoutingPoliciesRequest{Name: &run, IPv6: pointer(true)}))(t)
	equal(t, "the number of policies", found.TotalCount, uint64(1))
	read := must(links.GetRoutingPolicy(&interlink.GetRoutingPolicyRequest{RoutingPolicyID: v6.ID}))(t)
	equal(t, "a prefix", read.PrefixFilterIn[0].String(), "fd99::/48")
	out := []string{"fd00::/8"}
	changed := must(links.UpdateRoutingPolicy(&interlink.UpdateRoutingPolicyRequest{RoutingPolicyID: v6.ID, PrefixFilterOut: &out}))(t)
	equal(t, "what an update leaves", len(changed.PrefixFilterIn), 1)
}

func TestBadOrdersOfLinks(t *testing.T) {
	o := offered(t)
	for what, change := range map[string]func(*interlink.CreateLinkRequest){
		"partner_id":     func(request *interlink.CreateLinkRequest) { request.ConnectionID = &o.dedicated },
		"bandwidth_mbps": func(request *interlink.CreateLinkRequest) { request.BandwidthMbps = 51 },
		"vlan":           func(request *interlink.CreateLinkRequest) { request.Vlan = pointer(uint32(2000)) },
	} {
		request := o.wanted()
		change(request)
		_, err := o.links.CreateLink(request)
		same(t, "what is wrong", wrongArguments(t, err), []string{what})
	}
	request := o.wanted()
	request.PopID = missing
	_, err := o.links.CreateLink(request)
	var unknown *scw.ResourceNotFoundError
	if !errors.As(err, &unknown) || unknown.Resource != "pop" {
		t.Errorf("an unknown PoP: %v", err)
	}
	link := o.order(t, o.wanted())
	operator := environment(t, "SCW_SECRET_KEY")
	told(t, operator, "POST", "/links/"+link.ID+"/lock", fields{"reason": "abuse"})
	_, err = o.links.DetachVpc(&interlink.DetachVpcRequest{LinkID: link.ID})
	var locked *scw.ResourceLockedError
	if !errors.As(err, &locked) || locked.ResourceID != link.ID {
		t.Errorf("a locked link: %v", err)
	}
	told(t, operator, "POST", "/links/"+link.ID+"/unlock", fields{})
}
