package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	s2s "github.com/scaleway/scaleway-sdk-go/api/s2s_vpn/v1alpha1"
	secret "github.com/scaleway/scaleway-sdk-go/api/secret/v1beta1"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

func TestCustomerGateway(t *testing.T) {
	made := customer(t, "198.51.100.10")
	if made.PublicIPv4 == nil || made.PublicIPv4.String() != "198.51.100.10" || made.PublicIPv6 != nil {
		t.Errorf("/32 was sent, and came back as %v and %v", made.PublicIPv4, made.PublicIPv6)
	}
	equal(t, "region", made.Region, region)
	equal(t, "SRN", made.Srn, fmt.Sprintf("srn://s2s-vpn.scw.eu/regions/%s/customer-gateways/%s", region, made.ID))
	equal(t, "a list of connections", made.ConnectionIDs != nil, true)
	read := must(vpn.GetCustomerGateway(&s2s.GetCustomerGatewayRequest{GatewayID: made.ID}))(t)
	same(t, "as read", fmt.Sprint(read.ID, read.Name, read.Tags, read.CreatedAt, read.UpdatedAt, read.Asn),
		fmt.Sprint(made.ID, made.Name, made.Tags, made.CreatedAt, made.UpdatedAt, made.Asn))
	changed := must(vpn.UpdateCustomerGateway(&s2s.UpdateCustomerGatewayRequest{
		GatewayID: made.ID, IPv6Public: pointer(cidr("2001:db8:ffff::10/128")), Asn: pointer(uint32(4200000001)),
	}))(t)
	equal(t, "IPv6", changed.PublicIPv6.String(), "2001:db8:ffff::10")
	equal(t, "IPv4", changed.PublicIPv4.String(), "198.51.100.10")
	equal(t, "ASN", changed.Asn, 4200000001)
	equal(t, "name", changed.Name, run)
	changed = must(vpn.UpdateCustomerGateway(&s2s.UpdateCustomerGatewayRequest{
		GatewayID: made.ID, Name: pointer("another"), Tags: &[]string{"z", "a"},
	}))(t)
	same(t, "tags in their order", changed.Tags, []string{"z", "a"})
	equal(t, "ASN", changed.Asn, 4200000001)
}

func TestRoutingPolicy(t *testing.T) {
	made := policy(t, false)
	same(t, "prefixes", made.PrefixFilterIn, []scw.IPNet{cidr("10.99.0.0/16")})
	equal(t, "SRN", made.Srn, fmt.Sprintf("srn://s2s-vpn.scw.eu/regions/%s/routing-policies/%s", region, made.ID))
	order := []string{"10.99.0.0/16", "10.97.0.0/16", "10.98.0.0/16"}
	changed := must(vpn.UpdateRoutingPolicy(&s2s.UpdateRoutingPolicyRequest{RoutingPolicyID: made.ID, PrefixFilterIn: &order}))(t)
	var got []string
	for _, prefix := range changed.PrefixFilterIn {
		got = append(got, prefix.String())
	}
	same(t, "prefixes in their order", got, order)
	same(t, "what was not sent", changed.PrefixFilterOut, made.PrefixFilterOut)
	read := must(vpn.GetRoutingPolicy(&s2s.GetRoutingPolicyRequest{RoutingPolicyID: made.ID}))(t)
	same(t, "as read", read.PrefixFilterIn, changed.PrefixFilterIn)
	renamed := must(vpn.UpdateRoutingPolicy(&s2s.UpdateRoutingPolicyRequest{
		RoutingPolicyID: made.ID, Name: pointer("another"), Tags: &[]string{},
	}))(t)
	equal(t, "name", renamed.Name, "another")
	equal(t, "tags", len(renamed.Tags), 0)

	// Slices that are nil go out as null.
	bare := must(vpn.CreateRoutingPolicy(&s2s.CreateRoutingPolicyRequest{Name: run, IsIPv6: true}))(t)
	t.Cleanup(func() {
		succeeds(t, vpn.DeleteRoutingPolicy(&s2s.DeleteRoutingPolicyRequest{RoutingPolicyID: bare.ID}))
	})
	if bare.PrefixFilterIn == nil || len(bare.PrefixFilterIn) != 0 || bare.PrefixFilterOut == nil || bare.Tags == nil {
		t.Errorf("null should have become []: %+v", bare)
	}
	equal(t, "family", bare.IsIPv6, true)
}

func TestConnection(t *testing.T) {
	peer, rules := customer(t, "198.51.100.11"), policy(t, false)
	request := wanted(peer, rules)
	request.EnableRoutePropagation = true
	made := connection(t, request)
	equal(t, "name", made.Name, run)
	equal(t, "initiation", made.InitiationPolicy, s2s.ConnectionInitiationPolicyCustomerGateway)
	equal(t, "propagation", made.RoutePropagationEnabled, true)
	equal(t, "the status that the documents name", made.Status, "ready")
	equal(t, "tunnel", made.TunnelStatus, s2s.TunnelStatusDown)
	equal(t, "tunnel, IPv4", *made.TunnelStatusIPv4, s2s.TunnelStatusUnknownTunnelStatus)
	equal(t, "tunnel, IPv6", *made.TunnelStatusIPv6, s2s.TunnelStatusUnknownTunnelStatus)
	equal(t, "BGP, IPv4", made.BgpStatusIPv4, s2s.BgpSessionStatusDown)
	equal(t, "BGP, IPv6", made.BgpStatusIPv6, s2s.BgpSessionStatusDisabled)
	equal(t, "no IPv6 session", made.BgpSessionIPv6 == nil, true)
	equal(t, "policy", made.BgpSessionIPv4.RoutingPolicyID, rules.ID)
	bits, _ := made.BgpSessionIPv4.PrivateIP.Mask.Size()
	equal(t, "size of the interconnection subnet", bits, 30)
	equal(t, "both in it", made.BgpSessionIPv4.PrivateIP.Contains(made.BgpSessionIPv4.PeerPrivateIP.IP), true)
	equal(t, "revision", made.SecretRevision, 1)
	equal(t, "created and updated", made.UpdatedAt.Equal(*made.CreatedAt), true)
	if !slices.Contains(must(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: gateway.ID}))(t).ConnectionIDs, made.ID) {
		t.Error("the gateway does not list the connection")
	}
	after := must(vpn.GetCustomerGateway(&s2s.GetCustomerGatewayRequest{GatewayID: peer.ID}))(t)
	same(t, "the customer gateway's connections", after.ConnectionIDs, []string{made.ID})
	equal(t, "the customer gateway's time of change moved", after.UpdatedAt.Equal(*peer.UpdatedAt), true)

	// Ciphers come back in their order, with the same optional members.
	read := must(vpn.GetConnection(&s2s.GetConnectionRequest{ConnectionID: made.ID}))(t)
	// The SDK makes no SRN for a connection inside another answer.
	equal(t, "SRN", read.Srn, fmt.Sprintf("srn://s2s-vpn.scw.eu/regions/%s/connections/%s", region, made.ID))
	written := func(value any) string {
		text, err := json.Marshal(value)
		succeeds(t, err)
		return string(text)
	}
	equal(t, "IKE ciphers", written(read.Ikev2Ciphers), written(request.Ikev2Ciphers))
	equal(t, "ESP ciphers", written(read.EspCiphers), written(request.EspCiphers))

	// The SDK's PATCH always has `unknown_initiation_policy` and two nulls.
	changed := must(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: made.ID, Name: pointer(run + "-2")}))(t)
	equal(t, "name", changed.Name, run+"-2")
	equal(t, "initiation", changed.InitiationPolicy, s2s.ConnectionInitiationPolicyCustomerGateway)
	equal(t, "ESP ciphers", written(changed.EspCiphers), written(request.EspCiphers))
	same(t, "tags", changed.Tags, []string{run})
	changed = must(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{
		ConnectionID: made.ID, InitiationPolicy: s2s.CreateConnectionRequestInitiationPolicyVpnGateway,
		Tags: &[]string{}, EspCiphers: ciphers()[:1],
	}))(t)
	equal(t, "initiation", changed.InitiationPolicy, s2s.ConnectionInitiationPolicyVpnGateway)
	equal(t, "ESP ciphers", written(changed.EspCiphers), written(ciphers()[:1]))
	equal(t, "IKE ciphers", written(changed.Ikev2Ciphers), written(request.Ikev2Ciphers))
	equal(t, "tags", len(changed.Tags), 0)

	off := must(vpn.DisableRoutePropagation(&s2s.DisableRoutePropagationRequest{ConnectionID: made.ID}))(t)
	equal(t, "propagation", off.RoutePropagationEnabled, false)
	on := must(vpn.EnableRoutePropagation(&s2s.EnableRoutePropagationRequest{ConnectionID: made.ID}))(t)
	equal(t, "propagation", on.RoutePropagationEnabled, true)

	succeeds(t, vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: made.ID}))
	_, err := vpn.GetConnection(&s2s.GetConnectionRequest{ConnectionID: made.ID})
	var gone *scw.ResourceNotFoundError
	if !errors.As(err, &gone) || gone.Resource != "connection" || gone.ResourceID != made.ID {
		t.Errorf("after the deletion: %v", err)
	}
	state := must(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: gateway.ID}))(t)
	equal(t, "still listed", slices.Contains(state.ConnectionIDs, made.ID), false)
}

func TestPoliciesOfBothFamilies(t *testing.T) {
	four, other, six := policy(t, false), policy(t, false), policy(t, true)
	request := wanted(customer(t, "2001:db8:ffff::12"), four)
	request.IsIPv6 = true
	request.BgpConfigIPv4.PrivateIP = pointer(cidr("169.254.200.1/30"))
	request.BgpConfigIPv4.PeerPrivateIP = pointer(cidr("169.254.200.2/30"))
	request.BgpConfigIPv6 = &s2s.CreateConnectionRequestBgpConfig{RoutingPolicyID: six.ID}
	made := connection(t, request)
	equal(t, "outer family", made.IsIPv6, true)
	equal(t, "ours, with host bits and mask", made.BgpSessionIPv4.PrivateIP.String(), "169.254.200.1/30")
	equal(t, "theirs", made.BgpSessionIPv4.PeerPrivateIP.String(), "169.254.200.2/30")
	equal(t, "IPv6 inside", made.BgpSessionIPv6.PrivateIP.IP.To4() == nil, true)
	equal(t, "BGP, IPv6", made.BgpStatusIPv6, s2s.BgpSessionStatusDown)

	changed := must(vpn.SetRoutingPolicy(&s2s.SetRoutingPolicyRequest{ConnectionID: made.ID, RoutingPolicyV4: &other.ID}))(t)
	equal(t, "policy, IPv4", changed.BgpSessionIPv4.RoutingPolicyID, other.ID)
	equal(t, "policy, IPv6", changed.BgpSessionIPv6.RoutingPolicyID, six.ID)
	changed = must(vpn.DetachRoutingPolicy(&s2s.DetachRoutingPolicyRequest{ConnectionID: made.ID, RoutingPolicyV6: &six.ID}))(t)
	equal(t, "BGP, IPv6", changed.BgpStatusIPv6, s2s.BgpSessionStatusDisabled)
	if changed.BgpSessionIPv6 != nil && changed.BgpSessionIPv6.RoutingPolicyID != "" {
		t.Errorf("still attached: %+v", changed.BgpSessionIPv6)
	}
	changed = must(vpn.SetRoutingPolicy(&s2s.SetRoutingPolicyRequest{ConnectionID: made.ID, RoutingPolicyV6: &six.ID}))(t)
	equal(t, "policy, IPv6", changed.BgpSessionIPv6.RoutingPolicyID, six.ID)
	equal(t, "the same subnet again", changed.BgpSessionIPv6.PrivateIP.String(), made.BgpSessionIPv6.PrivateIP.String())
}

func TestUnknownInitiationPolicyAndDefaultCiphers(t *testing.T) {
	request := wanted(customer(t, "198.51.100.13"), nil)
	request.InitiationPolicy = s2s.CreateConnectionRequestInitiationPolicyUnknownInitiationPolicy
	request.Ikev2Ciphers, request.EspCiphers = nil, nil
	made := connection(t, request)
	equal(t, "initiation", made.InitiationPolicy, s2s.ConnectionInitiationPolicyVpnGateway)
	if made.Ikev2Ciphers == nil || len(made.Ikev2Ciphers) != 0 || len(made.EspCiphers) != 0 {
		t.Errorf("the default is not echoed as []: %v %v", made.Ikev2Ciphers, made.EspCiphers)
	}
	equal(t, "no session", made.BgpSessionIPv4 == nil, true)
	equal(t, "BGP, IPv4", made.BgpStatusIPv4, s2s.BgpSessionStatusDisabled)
}

func key(t *testing.T, id string, revision uint32) string {
	t.Helper()
	answer := must(secrets.AccessSecretVersion(&secret.AccessSecretVersionRequest{
		SecretID: id, Revision: fmt.Sprint(revision),
	}))(t)
	equal(t, "revision", answer.Revision, revision)
	return string(answer.Data)
}

func TestKeys(t *testing.T) {
	made := connection(t, wanted(customer(t, "198.51.100.14"), nil))
	first := key(t, made.SecretID, made.SecretRevision)
	owner := must(secrets.GetSecret(&secret.GetSecretRequest{SecretID: made.SecretID}))(t)
	equal(t, "name", owner.Name, "s2s-vpn-"+made.ID)
	same(t, "used by", owner.UsedBy, []secret.Product{secret.ProductS2sVpn})
	equal(t, "managed", owner.Managed, true)

	renewed := must(vpn.RenewConnectionPsk(&s2s.RenewConnectionPskRequest{ConnectionID: made.ID, GenerateRevision: pointer(true)}))(t)
	equal(t, "revision", renewed.Connection.SecretRevision, 2)
	equal(t, "key in the answer", *renewed.PreSharedKey, "")
	second := key(t, made.SecretID, 2)
	equal(t, "the key is another one", first != second, true)
	renewed = must(vpn.RenewConnectionPsk(&s2s.RenewConnectionPskRequest{ConnectionID: made.ID, GenerateRevision: pointer(false)}))(t)
	equal(t, "revision", renewed.Connection.SecretRevision, 2)
	equal(t, "the revision has a new key", key(t, made.SecretID, 2) != second, true)

	own := must(secrets.CreateSecret(&secret.CreateSecretRequest{Name: run}))(t)
	t.Cleanup(func() { succeeds(t, secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: own.ID})) })
	equal(t, "type", own.Type, secret.SecretTypeOpaque)
	const text = "an own key, thirty-two octets and more"
	version := must(secrets.CreateSecretVersion(&secret.CreateSecretVersionRequest{SecretID: own.ID, Data: []byte(text)}))(t)
	equal(t, "revision", version.Revision, 1)
	changed := must(vpn.ChangeConnectionPsk(&s2s.ChangeConnectionPskRequest{
		ConnectionID: made.ID, Secret: &s2s.ChangeConnectionPskRequestSecret{ID: own.ID},
	}))(t)
	equal(t, "secret", changed.Connection.SecretID, own.ID)
	equal(t, "the newest revision, as null was sent", changed.Connection.SecretRevision, 1)
	equal(t, "key", key(t, own.ID, 1), text)

	request := wanted(customer(t, "198.51.100.15"), nil)
	request.Secret = &s2s.CreateConnectionRequestSecret{ID: own.ID}
	shared := connection(t, request)
	equal(t, "secret", shared.SecretID, own.ID)
	succeeds(t, vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: shared.ID}))
	succeeds(t, vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: made.ID}))
	equal(t, "an own secret outlives its connections", key(t, own.ID, 1), text)
	_, err := secrets.GetSecret(&secret.GetSecretRequest{SecretID: made.SecretID})
	var gone *scw.ResourceNotFoundError
	if err != nil && !errors.As(err, &gone) {
		t.Errorf("the generated secret: %v", err)
	}
	versions := must(secrets.ListSecretVersions(&secret.ListSecretVersionsRequest{SecretID: own.ID}, scw.WithAllPages()))(t)
	equal(t, "versions", versions.TotalCount, 1)
}

func TestConnectionLists(t *testing.T) {
	rules := policy(t, false)
	var made []*s2s.Connection
	var peers []string
	for index := range 5 {
		peer := customer(t, fmt.Sprintf("198.51.100.%d", 20+index))
		request := wanted(peer, nil)
		request.Name = fmt.Sprintf("%s %c", run, "bdaec"[index])
		request.Tags = []string{run + "-all", fmt.Sprintf("%s-%d", run, index)}
		if index == 0 {
			request.BgpConfigIPv4 = &s2s.CreateConnectionRequestBgpConfig{RoutingPolicyID: rules.ID}
			request.EnableRoutePropagation = true
		}
		made, peers = append(made, connection(t, request)), append(peers, peer.ID)
	}
	names := func(request *s2s.ListConnectionsRequest, options ...scw.RequestOption) string {
		t.Helper()
		var letters []string
		for _, found := range must(vpn.ListConnections(request, options...))(t).Connections {
			letters = append(letters, strings.TrimPrefix(found.Name, run+" "))
		}
		return strings.Join(letters, "")
	}
	all := []string{run + "-all"}
	two := pointer(uint32(2))
	equal(t, "all pages", names(&s2s.ListConnectionsRequest{PageSize: two, Tags: all}, scw.WithAllPages()), "bdaec")
	equal(t, "the third page", names(&s2s.ListConnectionsRequest{PageSize: two, Page: pointer(int32(3)), Tags: all}), "c")
	for order, wanted := range map[s2s.ListConnectionsRequestOrderBy]string{
		s2s.ListConnectionsRequestOrderByCreatedAtAsc:  "bdaec",
		s2s.ListConnectionsRequestOrderByCreatedAtDesc: "ceadb",
		s2s.ListConnectionsRequestOrderByNameAsc:       "abcde",
		s2s.ListConnectionsRequestOrderByNameDesc:      "edcba",
	} {
		equal(t, string(order), names(&s2s.ListConnectionsRequest{PageSize: two, OrderBy: order, Tags: all}, scw.WithAllPages()), wanted)
	}
	for _, order := range []s2s.ListConnectionsRequestOrderBy{
		s2s.ListConnectionsRequestOrderByStatusAsc, s2s.ListConnectionsRequestOrderByStatusDesc,
	} {
		equal(t, string(order), len(names(&s2s.ListConnectionsRequest{OrderBy: order, Tags: all})), 5)
	}
	for what, request := range map[string]*s2s.ListConnectionsRequest{
		"policies":           {RoutingPolicyIDs: []string{rules.ID}},
		"customer gateways":  {CustomerGatewayIDs: []string{peers[0]}},
		"propagation":        {RoutePropagationEnabled: pointer(true), Tags: all},
		"tags":               {Tags: []string{run + "-0"}},
		"name, any case":     {Name: pointer(strings.ToUpper(run) + " B")},
		"gateways":           {VpnGatewayIDs: []string{gateway.ID}, Tags: []string{run + "-0"}},
		"`down` means ready": {Statuses: []s2s.ConnectionStatus{s2s.ConnectionStatusDown}, Tags: []string{run + "-0"}},
		"unknown status":     {Statuses: []s2s.ConnectionStatus{s2s.ConnectionStatusUnknownStatus}, Tags: []string{run + "-0"}},
		"family":             {IsIPv6: pointer(false), Tags: []string{run + "-0"}},
	} {
		equal(t, what, names(request), "b")
	}
	for what, request := range map[string]*s2s.ListConnectionsRequest{
		"IPv6":            {IsIPv6: pointer(true), Tags: all},
		"active":          {Statuses: []s2s.ConnectionStatus{s2s.ConnectionStatusActive}, Tags: all},
		"another gateway": {VpnGatewayIDs: []string{missing}, Tags: all},
	} {
		equal(t, what, names(request), "")
	}
	gateways := must(vpn.ListCustomerGateways(&s2s.ListCustomerGatewaysRequest{
		PageSize: two, Tags: []string{run}, OrderBy: s2s.ListCustomerGatewaysRequestOrderByCreatedAtDesc,
	}, scw.WithAllPages()))(t)
	equal(t, "customer gateways", len(gateways.Gateways), 5)
	equal(t, "the newest first", gateways.Gateways[0].ID, peers[4])
	for range 4 {
		policy(t, true)
	}
	policies := must(vpn.ListRoutingPolicies(&s2s.ListRoutingPoliciesRequest{PageSize: two, Tags: []string{run}}, scw.WithAllPages()))(t)
	equal(t, "policies", len(policies.RoutingPolicies), 5)
	policies = must(vpn.ListRoutingPolicies(&s2s.ListRoutingPoliciesRequest{IPv6: pointer(true), Name: &run}))(t)
	equal(t, "policies for IPv6", policies.TotalCount, 4)
	equal(t, "made", len(made), 5)
}

// extension is the answer of the extension API, which no SDK has.
func extension(t *testing.T, path string, text string) []byte {
	t.Helper()
	return extended(t, environment(t, "SCW_SECRET_KEY"), http.MethodPost, path, text)
}

// extended is the answer of the extension API to whoever has this key.
func extended(t *testing.T, key, method, path, text string) []byte {
	t.Helper()
	status, answer := exchanged(t, key, method, path, text)
	if status != http.StatusOK && status != http.StatusNoContent {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return answer
}

// exchanged is whatever the extension API answers.
func exchanged(t *testing.T, key, method, path, text string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, environment(t, "SCW_API_URL")+"/causeway/v1"+path, bytes.NewBufferString(text))
	succeeds(t, err)
	request.Header.Set("X-Auth-Token", key)
	response, err := http.DefaultClient.Do(request)
	succeeds(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	succeeds(t, err)
	return response.StatusCode, answer
}
