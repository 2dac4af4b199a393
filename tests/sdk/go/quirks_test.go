package conformance

import (
	"fmt"
	"strings"
	"testing"

	ipam "github.com/scaleway/scaleway-sdk-go/api/ipam/v1"
	s2s "github.com/scaleway/scaleway-sdk-go/api/s2s_vpn/v1alpha1"
	secret "github.com/scaleway/scaleway-sdk-go/api/secret/v1beta1"
	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

// What this SDK alone sends (wire-api.md §1.3-1.5): each test looks at the request first, so that it says when an SDK no longer does it.

func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %s is not in %s", what, part, text)
		}
	}
}

func TestQuirkNoBodyAndNoContentTypeOnGet(t *testing.T) {
	_ = must(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: gateway.ID}))(t)
	got := wire.request()
	equal(t, "body", got.body, "")
	equal(t, "content type", got.header.Get("Content-Type"), "")
	equal(t, "accept", got.header.Get("Accept"), "")
	contains(t, "user agent", got.header.Get("User-Agent"), "scaleway-sdk-go/")
}

func TestQuirkActionsHaveAnEmptyObject(t *testing.T) {
	made := connection(t, wanted(customer(t, "198.51.100.50"), nil))
	on := must(vpn.EnableRoutePropagation(&s2s.EnableRoutePropagationRequest{ConnectionID: made.ID}))(t)
	got := wire.request()
	equal(t, "body", got.body, "{}")
	equal(t, "content type", got.header.Get("Content-Type"), "application/json")
	equal(t, "propagation", on.RoutePropagationEnabled, true)
}

func TestQuirkListsAlwaysHaveAnOrder(t *testing.T) {
	_ = must(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{Name: &run}))(t)
	contains(t, "query", wire.request().query, "order_by=created_at_asc")
	found := must(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{
		OrderBy: s2s.ListVpnGatewaysRequestOrderByStatusDesc, Name: &run,
	}))(t)
	contains(t, "query", wire.request().query, "order_by=status_desc")
	equal(t, "found", found.Gateways[0].ID, gateway.ID)
}

func TestQuirkUnknownWordsFilterNothing(t *testing.T) {
	found := must(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{
		Name: &run, Statuses: []s2s.VpnGatewayStatus{s2s.VpnGatewayStatusUnknownStatus},
	}))(t)
	contains(t, "query", wire.request().query, "statuses=unknown_status")
	equal(t, "found", found.Gateways[0].ID, gateway.ID)
}

func TestQuirkListsRepeatTheirKeyAndSpacesArePluses(t *testing.T) {
	found := must(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{Tags: []string{"nobody's one", run}}))(t)
	contains(t, "query", wire.request().query, "tags=nobody%27s+one&tags="+run)
	equal(t, "found", found.Gateways[0].ID, gateway.ID)
}

func TestQuirkAllPagesBeginWithPageOne(t *testing.T) {
	found := must(vpn.ListVpnGatewayTypes(&s2s.ListVpnGatewayTypesRequest{PageSize: pointer(uint32(1))}, scw.WithAllPages()))(t)
	equal(t, "the last query", wire.request().query, fmt.Sprintf("page=%d&page_size=1", len(found.GatewayTypes)))
	equal(t, "all of them", uint64(len(found.GatewayTypes)), found.TotalCount)
}

func TestQuirkZoneAndProjectAreFilledIn(t *testing.T) {
	_, err := vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{Name: run, GatewayType: "VGW-XXL", PrivateNetworkID: network.ID})
	zone, _ := client.GetDefaultZone()
	project, _ := client.GetDefaultProjectID()
	contains(t, "body", wire.request().body, `"zone":"`+zone.String()+`"`, `"project_id":"`+project+`"`, `"tags":null`)
	failed := parsed[*scw.InvalidArgumentsError](t, "no such type", err)
	equal(t, "only the type is wrong", failed.Details[0].ArgumentName, "gateway_type")
	equal(t, "details", len(failed.Details), 1)
}

func TestQuirkAddressesOfDevicesAreNetworks(t *testing.T) {
	made := customer(t, "198.51.100.51")
	contains(t, "body", wire.request().body, `"ipv4_public":"198.51.100.51/32"`)
	equal(t, "as an address", made.PublicIPv4.String(), "198.51.100.51")
	six := must(vpn.UpdateCustomerGateway(&s2s.UpdateCustomerGatewayRequest{
		GatewayID: made.ID, IPv6Public: pointer(cidr("2001:db8:ffff::51/128")),
	}))(t)
	contains(t, "body", wire.request().body, `"ipv6_public":"2001:db8:ffff::51/128"`)
	equal(t, "as an address", six.PublicIPv6.String(), "2001:db8:ffff::51")
}

func TestQuirkPrefixFiltersAreNull(t *testing.T) {
	made := must(vpn.CreateRoutingPolicy(&s2s.CreateRoutingPolicyRequest{Name: run}))(t)
	t.Cleanup(func() {
		succeeds(t, vpn.DeleteRoutingPolicy(&s2s.DeleteRoutingPolicyRequest{RoutingPolicyID: made.ID}))
	})
	contains(t, "body", wire.request().body, `"prefix_filter_in":null`, `"prefix_filter_out":null`, `"tags":null`)
	equal(t, "prefixes", len(made.PrefixFilterIn)+len(made.PrefixFilterOut), 0)
}

func TestQuirkNullsOfANewConnection(t *testing.T) {
	rules := policy(t, false)
	request := wanted(customer(t, "198.51.100.52"), rules)
	request.InitiationPolicy = s2s.CreateConnectionRequestInitiationPolicyUnknownInitiationPolicy
	request.Ikev2Ciphers = []*s2s.ConnectionCipher{{Encryption: s2s.ConnectionEncryptionAes256gcm}}
	made := connection(t, request)
	contains(t, "body", wire.request().body, `"initiation_policy":"unknown_initiation_policy"`, `"integrity":null`, `"dh_group":null`,
		`"private_ip":null`, `"peer_private_ip":null`)
	equal(t, "initiation", made.InitiationPolicy, s2s.ConnectionInitiationPolicyVpnGateway)
	equal(t, "integrity", made.Ikev2Ciphers[0].Integrity == nil, true)
	equal(t, "a subnet was allotted", made.BgpSessionIPv4.PrivateIP.IP.IsLinkLocalUnicast(), true)
}

func TestQuirkPatchOfAConnectionAlwaysHasThreePlaceholders(t *testing.T) {
	request := wanted(customer(t, "198.51.100.53"), nil)
	made := connection(t, request)
	changed := must(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: made.ID, Name: pointer("n2")}))(t)
	equal(t, "body", wire.request().body,
		`{"name":"n2","initiation_policy":"unknown_initiation_policy","ikev2_ciphers":null,"esp_ciphers":null}`)
	equal(t, "initiation", changed.InitiationPolicy, made.InitiationPolicy)
	same(t, "ciphers", len(changed.EspCiphers), len(request.EspCiphers))
}

// "If not given it will not change. If secret_id is updated, secret_revision should be set accordingly", says the SDK.
func TestUpdateConnectionChangesTheKey(t *testing.T) {
	made := connection(t, wanted(customer(t, "198.51.100.54"), nil))
	own := must(secrets.CreateSecret(&secret.CreateSecretRequest{Name: run + "-update"}))(t)
	// Runs before the connection is deleted, so that it has to let go of the secret first.
	t.Cleanup(func() {
		succeeds(t, vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: made.ID}))
		succeeds(t, secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: own.ID}))
	})
	for range 2 {
		_ = must(secrets.CreateSecretVersion(&secret.CreateSecretVersionRequest{SecretID: own.ID, Data: []byte("thirty-two octets or a few more.")}))(t)
	}
	changed := must(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{
		ConnectionID: made.ID, SecretID: &own.ID, SecretRevision: pointer(uint32(2)),
	}))(t)
	equal(t, "secret", changed.SecretID, own.ID)
	equal(t, "revision", changed.SecretRevision, 2)
	changed = must(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: made.ID, SecretRevision: pointer(uint32(1))}))(t)
	equal(t, "the same secret", changed.SecretID, own.ID)
	equal(t, "revision", changed.SecretRevision, 1)
	_, err := vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: made.ID, SecretRevision: pointer(uint32(9))})
	equal(t, "what is missing", parsed[*scw.ResourceNotFoundError](t, "no such revision", err).Resource, "secret_version")
	renewed := must(vpn.RenewConnectionPsk(&s2s.RenewConnectionPskRequest{ConnectionID: made.ID, GenerateRevision: pointer(true)}))(t)
	equal(t, "revision", renewed.Connection.SecretRevision, 3)
	changed = must(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: made.ID, SecretID: &own.ID}))(t)
	equal(t, "the number stays where none is given", changed.SecretRevision, 3)
	_, err = vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: made.ID, SecretID: &made.SecretID})
	failed := parsed[*scw.InvalidArgumentsError](t, "a secret without the third revision", err)
	equal(t, "argument", failed.Details[0].ArgumentName, "secret_revision")
}

func TestQuirkRevisionOfASecretIsNull(t *testing.T) {
	made := connection(t, wanted(customer(t, "198.51.100.55"), nil))
	changed := must(vpn.ChangeConnectionPsk(&s2s.ChangeConnectionPskRequest{
		ConnectionID: made.ID, Secret: &s2s.ChangeConnectionPskRequestSecret{ID: made.SecretID},
	}))(t)
	equal(t, "body", wire.request().body, `{"secret":{"id":"`+made.SecretID+`","revision":null}}`)
	equal(t, "the newest", changed.Connection.SecretRevision, 1)
}

func TestQuirkSubnetsOfANetworkAreNull(t *testing.T) {
	made := must(vpcs.CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{Name: run + "-null", VpcID: &network.VpcID}))(t)
	t.Cleanup(func() {
		succeeds(t, vpcs.DeletePrivateNetwork(&vpc.DeletePrivateNetworkRequest{PrivateNetworkID: made.ID}))
	})
	contains(t, "body", wire.request().body, `"subnets":null`)
	equal(t, "one of each family", len(made.Subnets), 2)
}

func TestQuirkAddressesAreChangedWithNullAndReleasedWithABody(t *testing.T) {
	ip := must(ips.BookIP(&ipam.BookIPRequest{Source: &ipam.Source{PrivateNetworkID: &network.ID}, Tags: []string{"a"}}))(t)
	changed := must(ips.UpdateIP(&ipam.UpdateIPRequest{IPID: ip.ID, Tags: &[]string{"b"}}))(t)
	contains(t, "body", wire.request().body, `"reverses":null`)
	same(t, "tags", changed.Tags, []string{"b"})
	succeeds(t, ips.ReleaseIP(&ipam.ReleaseIPRequest{IPID: ip.ID}))
	got := wire.request()
	equal(t, "request", got.method+" "+got.body, "DELETE {}")
	_, err := ips.GetIP(&ipam.GetIPRequest{IPID: ip.ID})
	equal(t, "gone", parsed[*scw.ResourceNotFoundError](t, "address", err).Resource, "ip")
}

func TestQuirkTagsOfASecretAreNull(t *testing.T) {
	made := must(secrets.CreateSecret(&secret.CreateSecretRequest{Name: run + "-null"}))(t)
	contains(t, "body", wire.request().body, `"tags":null`)
	equal(t, "tags", len(made.Tags), 0)
	succeeds(t, secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: made.ID}))
}
