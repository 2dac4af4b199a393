package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"

	ipam "github.com/scaleway/scaleway-sdk-go/api/ipam/v1"
	s2s "github.com/scaleway/scaleway-sdk-go/api/s2s_vpn/v1alpha1"
	secret "github.com/scaleway/scaleway-sdk-go/api/secret/v1beta1"
	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is missing: source DIR/operator.env first; scripts/test-sdk sets what is not in it", name)
	}
	return value
}

// parsed is the SDK's own error of type T that the call must have ended in.
func parsed[T error](t *testing.T, what string, err error) T {
	t.Helper()
	var wanted T
	if !errors.As(err, &wanted) {
		t.Fatalf("%s: not a %T: %v%s", what, wanted, err, body(err))
	}
	return wanted
}

func TestInvalidArguments(t *testing.T) {
	_, err := vpn.CreateCustomerGateway(&s2s.CreateCustomerGatewayRequest{Name: "", Asn: 0, IPv4Public: pointer(cidr("198.51.100.0/24"))})
	failed := parsed[*scw.InvalidArgumentsError](t, "customer gateway", err)
	got := map[string]string{}
	for _, detail := range failed.Details {
		got[detail.ArgumentName] = detail.Reason
		if detail.HelpMessage == "" {
			t.Errorf("%s has no help", detail.ArgumentName)
		}
	}
	same(t, "everything at once", got, map[string]string{"name": "required", "asn": "constraint", "ipv4_public": "format"})

	for what, want := range map[string]struct {
		argument string
		err      error
	}{
		"page size": {"page_size", second(vpn.ListConnections(&s2s.ListConnectionsRequest{PageSize: pointer(uint32(1001))}))},
		"page":      {"page", second(vpn.ListConnections(&s2s.ListConnectionsRequest{Page: pointer(int32(0))}))},
		"order":     {"order_by", second(vpn.ListVpnGateways(&s2s.ListVpnGatewaysRequest{OrderBy: "size_asc"}))},
		"region":    {"region", second(vpn.ListConnections(&s2s.ListConnectionsRequest{Region: "xx-xxx"}))},
		"zone": {"zone", second(vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
			Name: run, GatewayType: "VGW-S", PrivateNetworkID: network.ID, Zone: pointer(scw.ZoneNlAms1),
		}))},
		"both kinds of public configuration": {"public_config", second(vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
			Name: run, GatewayType: "VGW-S", PrivateNetworkID: network.ID, PublicConfig: &s2s.CreateVpnGatewayRequestPublicConfig{},
			PublicTunnelConfig: &s2s.CreateVpnGatewayRequestPublicTunnelConfig{
				SingleIPv4Tunnel: &s2s.CreateVpnGatewayRequestSingleIPTunnel{},
			},
		}))},
		"type": {"gateway_type", second(vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
			Name: run, GatewayType: "VGW-XXL", PrivateNetworkID: network.ID,
		}))},
		"prefix": {"prefix_filter_in", second(vpn.UpdateRoutingPolicy(&s2s.UpdateRoutingPolicyRequest{
			RoutingPolicyID: policy(t, false).ID, PrefixFilterIn: &[]string{"10.0.0.0/33"},
		}))},
	} {
		failed := parsed[*scw.InvalidArgumentsError](t, what, want.err)
		if !slices.ContainsFunc(failed.Details, func(detail scw.InvalidArgumentsErrorDetail) bool {
			return len(detail.ArgumentName) >= len(want.argument) && detail.ArgumentName[:len(want.argument)] == want.argument
		}) {
			t.Errorf("%s: %+v", what, failed.Details)
		}
	}
	peer := customer(t, "198.51.100.40")
	wrong := wanted(peer, policy(t, true))
	failed = parsed[*scw.InvalidArgumentsError](t, "a policy of the other family", second(vpn.CreateConnection(wrong)))
	equal(t, "argument", failed.Details[0].ArgumentName, "bgp_config_ipv4.routing_policy_id")
	wrong = wanted(peer, nil)
	wrong.IsIPv6 = true
	failed = parsed[*scw.InvalidArgumentsError](t, "a family that the device lacks", second(vpn.CreateConnection(wrong)))
	equal(t, "argument", failed.Details[0].ArgumentName, "is_ipv6")
	equal(t, "reason", failed.Details[0].Reason, "constraint")
}

func second[T any](_ T, err error) error { return err }

func TestDeniedAuthentication(t *testing.T) {
	stranger := must(scw.NewClient(scw.WithEnv(), scw.WithAuth(environment(t, "SCW_ACCESS_KEY"), missing),
		scw.WithHTTPClient(&http.Client{Transport: wire})))(t)
	_, err := s2s.NewAPI(stranger).ListConnections(&s2s.ListConnectionsRequest{})
	denied := parsed[*scw.DeniedAuthenticationError](t, "a stranger", err)
	equal(t, "method", denied.Method, "api_key")
	equal(t, "reason", denied.Reason, "not_found")
	nobody := must(scw.NewClient(scw.WithAPIURL(environment(t, "SCW_API_URL")), scw.WithoutAuth(),
		scw.WithDefaultRegion(region), scw.WithHTTPClient(&http.Client{Transport: wire})))(t)
	_, err = s2s.NewAPI(nobody).ListConnections(&s2s.ListConnectionsRequest{})
	denied = parsed[*scw.DeniedAuthenticationError](t, "nobody", err)
	equal(t, "reason", denied.Reason, "invalid_argument")
}

// with is a client with another key, or of another service, than operator.env names.
func with(t *testing.T, url, access, token string, more ...scw.ClientOption) *scw.Client {
	t.Helper()
	options := []scw.ClientOption{
		scw.WithEnv(), scw.WithAPIURL(url), scw.WithAuth(access, token), scw.WithHTTPClient(&http.Client{Transport: elsewhere}),
	}
	return must(scw.NewClient(append(options, more...)...))(t)
}

func TestPermissionsDenied(t *testing.T) {
	var key struct {
		Access string `json:"access_key"`
		Secret string `json:"secret_key"`
	}
	succeeds(t, json.Unmarshal(extension(t, "/operator/api-keys", `{"role":"support","description":"`+run+`"}`), &key))
	support := with(t, environment(t, "SCW_API_URL"), key.Access, key.Secret)
	_ = must(s2s.NewAPI(support).GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: gateway.ID}))(t)
	for what, err := range map[string]error{
		"VPC":        second(vpc.NewAPI(support).CreateVPC(&vpc.CreateVPCRequest{Name: run})),
		"gateway":    second(s2s.NewAPI(support).UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{GatewayID: gateway.ID, Name: &run})),
		"connection": second(s2s.NewAPI(support).CreateConnection(wanted(customer(t, "198.51.100.56"), nil))),
	} {
		failed := parsed[*scw.PermissionsDeniedError](t, what, err)
		if len(failed.Details) != 1 || failed.Details[0].Action == "" || failed.Details[0].Resource == "" {
			t.Errorf("%s: %+v", what, failed.Details)
		}
	}
}

// The Go SDK has no type for it: the generic error keeps the body. The service is another one, which takes a request per second of a key.
func TestTooManyRequests(t *testing.T) {
	limited := s2s.NewAPI(with(t, environment(t, "LIMITED_API_URL"), environment(t, "LIMITED_ACCESS_KEY"), environment(t, "LIMITED_SECRET_KEY")))
	for range 100 {
		_, err := limited.ListConnections(&s2s.ListConnectionsRequest{})
		if err == nil {
			continue
		}
		failed := parsed[*scw.ResponseError](t, "too many requests", err)
		equal(t, "status", failed.StatusCode, http.StatusTooManyRequests)
		equal(t, "type", failed.Type, "too_many_requests")
		contains(t, "body", string(failed.RawBody), `"limit":{"quota":1,"window_seconds":1}`, `"reset_seconds":`)
		return
	}
	t.Error("a hundred calls were not too many for one per second")
}

// The Go SDK has types for none of these: the generic error keeps the status and the type. The broken service is another one, whose disk is
// full, and which cannot read what it once wrote of a VPC.
func TestUnavailableInternalAndMethodNotAllowed(t *testing.T) {
	broken := with(t, environment(t, "BROKEN_API_URL"), environment(t, "BROKEN_ACCESS_KEY"), environment(t, "BROKEN_SECRET_KEY"),
		scw.WithDefaultProjectID(environment(t, "BROKEN_PROJECT_ID")))
	for kind, want := range map[string]struct {
		status int
		err    error
	}{
		"unavailable": {http.StatusServiceUnavailable, second(s2s.NewAPI(broken).CreateCustomerGateway(&s2s.CreateCustomerGatewayRequest{
			Name: run, Asn: 65010, IPv4Public: pointer(cidr("198.51.100.59/32")),
		}))},
		"internal": {http.StatusInternalServerError, second(vpc.NewAPI(broken).ListVPCs(&vpc.ListVPCsRequest{}))},
		// No call of the SDK asks for it; its own request and its own parsing do.
		"method_not_allowed": {http.StatusMethodNotAllowed, client.Do(&scw.ScalewayRequest{
			Method: http.MethodPut, Path: "/s2s-vpn/v1alpha1/regions/" + string(region) + "/connections",
		}, nil)},
	} {
		failed := parsed[*scw.ResponseError](t, kind, want.err)
		equal(t, "status of "+kind, failed.StatusCode, want.status)
		equal(t, "type", failed.Type, kind)
		if failed.Message == "" {
			t.Errorf("%s: no message", kind)
		}
		if kind == "unavailable" {
			contains(t, "body", string(failed.RawBody), `"help_message":"`, "disk")
		}
	}
}

func TestNotFound(t *testing.T) {
	own := policy(t, false)
	peer := customer(t, "198.51.100.41")
	lacks := func(change func(*s2s.CreateConnectionRequest)) error {
		request := wanted(peer, nil)
		change(request)
		return second(vpn.CreateConnection(request))
	}
	id := pointer(missing)
	for resource, failures := range map[string][]error{
		"vpn_gateway": {
			second(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: missing})),
			second(vpn.UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{GatewayID: missing, Name: &run})),
			second(vpn.DeleteVpnGateway(&s2s.DeleteVpnGatewayRequest{GatewayID: missing})),
			second(settled(missing)),
			lacks(func(request *s2s.CreateConnectionRequest) { request.VpnGatewayID = missing }),
		},
		"connection": {
			second(vpn.GetConnection(&s2s.GetConnectionRequest{ConnectionID: missing})),
			second(vpn.UpdateConnection(&s2s.UpdateConnectionRequest{ConnectionID: missing, Name: &run})),
			vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: missing}),
			second(vpn.RenewConnectionPsk(&s2s.RenewConnectionPskRequest{ConnectionID: missing})),
			second(vpn.ChangeConnectionPsk(&s2s.ChangeConnectionPskRequest{
				ConnectionID: missing, Secret: &s2s.ChangeConnectionPskRequestSecret{ID: missing},
			})),
			second(vpn.SetRoutingPolicy(&s2s.SetRoutingPolicyRequest{ConnectionID: missing, RoutingPolicyV4: &own.ID})),
			second(vpn.DetachRoutingPolicy(&s2s.DetachRoutingPolicyRequest{ConnectionID: missing, RoutingPolicyV4: &own.ID})),
			second(vpn.EnableRoutePropagation(&s2s.EnableRoutePropagationRequest{ConnectionID: missing})),
			second(vpn.DisableRoutePropagation(&s2s.DisableRoutePropagationRequest{ConnectionID: missing})),
		},
		"customer_gateway": {
			second(vpn.GetCustomerGateway(&s2s.GetCustomerGatewayRequest{GatewayID: missing})),
			second(vpn.UpdateCustomerGateway(&s2s.UpdateCustomerGatewayRequest{GatewayID: missing, Name: &run})),
			vpn.DeleteCustomerGateway(&s2s.DeleteCustomerGatewayRequest{GatewayID: missing}),
			lacks(func(request *s2s.CreateConnectionRequest) { request.CustomerGatewayID = missing }),
		},
		"routing_policy": {
			second(vpn.GetRoutingPolicy(&s2s.GetRoutingPolicyRequest{RoutingPolicyID: missing})),
			second(vpn.UpdateRoutingPolicy(&s2s.UpdateRoutingPolicyRequest{RoutingPolicyID: missing, Name: &run})),
			vpn.DeleteRoutingPolicy(&s2s.DeleteRoutingPolicyRequest{RoutingPolicyID: missing}),
			lacks(func(request *s2s.CreateConnectionRequest) {
				request.BgpConfigIPv4 = &s2s.CreateConnectionRequestBgpConfig{RoutingPolicyID: missing}
			}),
		},
		"private_network": {
			second(vpcs.GetPrivateNetwork(&vpc.GetPrivateNetworkRequest{PrivateNetworkID: missing})),
			second(vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{Name: run, GatewayType: "VGW-S", PrivateNetworkID: missing})),
		},
		"vpc": {
			second(vpcs.GetVPC(&vpc.GetVPCRequest{VpcID: missing})),
			second(vpcs.CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{Name: run, VpcID: id})),
		},
		"ip": {second(ips.GetIP(&ipam.GetIPRequest{IPID: missing})), ips.ReleaseIP(&ipam.ReleaseIPRequest{IPID: missing})},
		"secret": {
			second(secrets.GetSecret(&secret.GetSecretRequest{SecretID: missing})),
			lacks(func(request *s2s.CreateConnectionRequest) {
				request.Secret = &s2s.CreateConnectionRequestSecret{ID: missing}
			}),
		},
	} {
		for index, err := range failures {
			failed := parsed[*scw.ResourceNotFoundError](t, fmt.Sprintf("%s, %d", resource, index), err)
			equal(t, fmt.Sprintf("resource of %s, %d", resource, index), failed.Resource, resource)
			equal(t, fmt.Sprintf("id of %s, %d", resource, index), failed.ResourceID, missing)
		}
	}
}

func TestPreconditionFailed(t *testing.T) {
	peer, rules := customer(t, "198.51.100.42"), policy(t, false)
	connection(t, wanted(peer, rules))
	_ = must(settled(gateway.ID))(t)
	for what, err := range map[string]error{
		"gateway":          second(vpn.DeleteVpnGateway(&s2s.DeleteVpnGatewayRequest{GatewayID: gateway.ID})),
		"customer gateway": vpn.DeleteCustomerGateway(&s2s.DeleteCustomerGatewayRequest{GatewayID: peer.ID}),
		"policy":           vpn.DeleteRoutingPolicy(&s2s.DeleteRoutingPolicyRequest{RoutingPolicyID: rules.ID}),
		"network":          vpcs.DeletePrivateNetwork(&vpc.DeletePrivateNetworkRequest{PrivateNetworkID: network.ID}),
		"VPC":              vpcs.DeleteVPC(&vpc.DeleteVPCRequest{VpcID: network.VpcID}),
	} {
		failed := parsed[*scw.PreconditionFailedError](t, what, err)
		equal(t, "precondition of the "+what, failed.Precondition, "resource_still_in_use")
		if failed.HelpMessage == "" {
			t.Errorf("%s: no help", what)
		}
	}
	kept := must(secrets.CreateSecret(&secret.CreateSecretRequest{Name: run + "-kept", Protected: true}))(t)
	failed := parsed[*scw.PreconditionFailedError](t, "secret", secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: kept.ID}))
	equal(t, "precondition", failed.Precondition, "protected_resource")
	_ = must(secrets.UnprotectSecret(&secret.UnprotectSecretRequest{SecretID: kept.ID}))(t)
	succeeds(t, secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: kept.ID}))
}

// The service is another one, without a node; it is thrown away, so that nothing is deleted there.
func TestTransientState(t *testing.T) {
	other := with(t, environment(t, "NODELESS_API_URL"), environment(t, "NODELESS_ACCESS_KEY"), environment(t, "NODELESS_SECRET_KEY"),
		scw.WithDefaultProjectID(environment(t, "NODELESS_PROJECT_ID")))
	network := must(vpc.NewAPI(other).CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{Name: run}))(t)
	api := s2s.NewAPI(other)
	made := must(api.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
		Name: run, GatewayType: "VGW-S", PrivateNetworkID: network.ID,
	}))(t)
	_, err := api.UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{GatewayID: made.ID, Name: pointer(run + "-changed")})
	failed := parsed[*scw.TransientStateError](t, "gateway", err)
	equal(t, "resource", failed.Resource, "vpn_gateway")
	equal(t, "id", failed.ResourceID, made.ID)
	equal(t, "state", failed.CurrentState, "provisioning")
}

// The Go SDK has no type for it: the generic error keeps the body.
func TestAlreadyExists(t *testing.T) {
	request := wanted(customer(t, "198.51.100.43"), nil)
	first := connection(t, request)
	_, err := vpn.CreateConnection(request)
	failed := parsed[*scw.ResponseError](t, "a second tunnel to the same device", err)
	equal(t, "status", failed.StatusCode, http.StatusConflict)
	equal(t, "type", failed.Type, "already_exists")
	var text struct {
		ID string `json:"resource_id"`
	}
	succeeds(t, json.Unmarshal(failed.RawBody, &text))
	equal(t, "id", text.ID, first.ID)
}

func TestQuotasExceeded(t *testing.T) {
	types := must(vpn.ListVpnGatewayTypes(&s2s.ListVpnGatewayTypesRequest{}, scw.WithAllPages()))(t)
	limit := uint64(0)
	for _, kind := range types.GatewayTypes {
		if kind.Name == gateway.GatewayType {
			limit = kind.AllowedConnections
		}
	}
	for index := range limit {
		connection(t, wanted(customer(t, fmt.Sprintf("198.51.100.%d", 100+index)), nil))
	}
	_, err := vpn.CreateConnection(wanted(customer(t, "198.51.100.99"), nil))
	failed := parsed[*scw.QuotasExceededError](t, "one connection too many", err)
	equal(t, "quota", uint64(failed.Details[0].Quota), limit)
	equal(t, "current", uint64(failed.Details[0].Current), limit)
	if failed.Details[0].Resource == "" {
		t.Error("of what?")
	}
}

func TestLocked(t *testing.T) {
	made := connection(t, wanted(customer(t, "198.51.100.44"), nil))
	extension(t, "/connections/"+made.ID+"/lock", `{"reason":"a test"}`)
	read := must(vpn.GetConnection(&s2s.GetConnectionRequest{ConnectionID: made.ID}))(t)
	equal(t, "status", read.Status, s2s.ConnectionStatusLocked)
	_, err := vpn.EnableRoutePropagation(&s2s.EnableRoutePropagationRequest{ConnectionID: made.ID})
	deleted := vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: made.ID})
	extension(t, "/connections/"+made.ID+"/unlock", "{}")
	for _, err := range []error{err, deleted} {
		failed := parsed[*scw.ResourceLockedError](t, "a locked connection", err)
		equal(t, "resource", failed.Resource, "connection")
		equal(t, "id", failed.ResourceID, made.ID)
	}
	_ = must(settled(gateway.ID))(t)
	extension(t, "/vpn-gateways/"+gateway.ID+"/lock", `{"reason":"a test"}`)
	state := must(vpn.GetVpnGateway(&s2s.GetVpnGatewayRequest{GatewayID: gateway.ID}))(t)
	_, err = vpn.UpdateVpnGateway(&s2s.UpdateVpnGatewayRequest{GatewayID: gateway.ID, Name: &run})
	extension(t, "/vpn-gateways/"+gateway.ID+"/unlock", "{}")
	equal(t, "status", state.Status, s2s.VpnGatewayStatusLocked)
	failed := parsed[*scw.ResourceLockedError](t, "a locked gateway", err)
	equal(t, "resource", failed.Resource, "vpn_gateway")
}

func TestOutOfStock(t *testing.T) {
	small := must(vpcs.CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{
		Name: run + "-small", VpcID: &network.VpcID, Subnets: []scw.IPNet{cidr("10.80.0.0/29")},
	}))(t)
	t.Cleanup(func() {
		succeeds(t, vpcs.DeletePrivateNetwork(&vpc.DeletePrivateNetworkRequest{PrivateNetworkID: small.ID}))
	})
	for range 9 {
		ip, err := ips.BookIP(&ipam.BookIPRequest{Source: &ipam.Source{PrivateNetworkID: &small.ID}})
		if err != nil {
			if failed := parsed[*scw.OutOfStockError](t, "a full subnet", err); failed.Resource == "" {
				t.Error("of what?")
			}
			return
		}
		t.Cleanup(func() { succeeds(t, ips.ReleaseIP(&ipam.ReleaseIPRequest{IPID: ip.ID})) })
	}
	t.Error("nine addresses came out of a /29")
}

func TestNotImplemented(t *testing.T) {
	for what, err := range map[string]error{
		"browsing":       second(secrets.BrowseSecrets(&secret.BrowseSecretsRequest{})),
		"connectors":     second(vpcs.ListVPCConnectors(&vpc.ListVPCConnectorsRequest{})),
		"ingress rules":  second(vpcs.ListIngressRules(&vpc.ListIngressRulesRequest{})),
		"restoring":      second(secrets.RestoreSecret(&secret.RestoreSecretRequest{SecretID: missing})),
		"object storage": second(vpcs.EnableObjectStoragePrivateAccess(&vpc.EnableObjectStoragePrivateAccessRequest{VpcID: network.VpcID})),
	} {
		failed, ok := err.(*scw.ResponseError)
		if !ok || failed.StatusCode != http.StatusNotImplemented || failed.Type != "not_implemented" || failed.Message == "" {
			t.Errorf("%s: %v%s", what, err, body(err))
		}
	}
}

// The SDK asks for it after a successful call; a failure would make it ask again after every one.
func TestMetadataIsAskedOnce(t *testing.T) {
	metadata := must(client.GetAPIMetadata())(t)
	equal(t, "platform", string(metadata.Platform), "external")
	equal(t, "partition", string(metadata.Partition), "scw")
	equal(t, "domain", string(metadata.Domain), "scw.eu")
	wire.mutex.Lock()
	defer wire.mutex.Unlock()
	// Once by this client, never by those that could not log in.
	equal(t, "calls", wire.calls["GET /metadata"], 1)
}
