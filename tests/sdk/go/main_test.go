// Package conformance drives a running service with the official Go SDK, with nothing but operator.env's variables set.
//
// Everything that is created carries a name of this run and is deleted at the end, also after a failure.
package conformance

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	ipam "github.com/scaleway/scaleway-sdk-go/api/ipam/v1"
	s2s "github.com/scaleway/scaleway-sdk-go/api/s2s_vpn/v1alpha1"
	secret "github.com/scaleway/scaleway-sdk-go/api/secret/v1beta1"
	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

const (
	missing = "0ae4cf90-0405-4318-a169-e45b3bef7676"
	timeout = 90 * time.Second
)

var (
	pattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	wire    = &inspector{}
	// Of clients with other keys, so that their calls are not counted as those of `client`.
	elsewhere = &inspector{}
	region    scw.Region
	client    *scw.Client
	vpn       *s2s.API
	vpcs      *vpc.API
	ips       *ipam.API
	secrets   *secret.API
	run       string
	network   *vpc.PrivateNetwork
	gateway   *s2s.VpnGateway
)

// inspector checks what every answer has to have (wire-api.md §1.6), whatever the SDK makes of it, and keeps the last request.
type inspector struct {
	mutex sync.Mutex
	bad   []string
	calls map[string]int
	last  sent
}

// sent is a request as the SDK sends it.
type sent struct {
	method, query, body string
	header              http.Header
}

func (i *inspector) RoundTrip(request *http.Request) (*http.Response, error) {
	made := sent{method: request.Method, query: request.URL.RawQuery, header: request.Header.Clone()}
	if request.GetBody != nil {
		if text, err := request.GetBody(); err == nil {
			if octets, err := io.ReadAll(text); err == nil {
				made.body = string(octets)
			}
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return response, err
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	// What the SDK asks for by itself is not what the test has called.
	if request.URL.Path != "/metadata" {
		i.last = made
	}
	if i.calls == nil {
		i.calls = map[string]int{}
	}
	i.calls[request.Method+" "+request.URL.Path]++
	note := func(what string) {
		i.bad = append(i.bad, fmt.Sprintf("%s %s: %d: %s", request.Method, request.URL, response.StatusCode, what))
	}
	for name, wanted := range map[string]string{
		"Content-Type":              "application/json",
		"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'",
		"Strict-Transport-Security": "max-age=63072000",
		"X-Content-Type-Options":    "nosniff",
		"X-Frame-Options":           "DENY",
		"X-Total-Count":             "",
	} {
		if got := response.Header.Get(name); got != wanted {
			note(fmt.Sprintf("%s is %q, not %q", name, got, wanted))
		}
	}
	if !pattern.MatchString(response.Header.Get("X-Request-Id")) {
		note("X-Request-Id is no UUID")
	}
	if _, err := http.ParseTime(response.Header.Get("Date")); err != nil {
		note("Date: " + err.Error())
	}
	if response.StatusCode == 204 && (response.ContentLength > 0 || response.Header.Get("Content-Length") != "") {
		note("204 with a length")
	}
	return response, nil
}

// request is the last one that was sent.
func (i *inspector) request() sent {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.last
}

func TestMain(m *testing.M) {
	status, err := around(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	for _, line := range append(wire.bad, elsewhere.bad...) {
		fmt.Fprintln(os.Stderr, "not as specified:", line)
		status = 1
	}
	os.Exit(status)
}

// around makes what all tests share: a VPC, a Private Network and an active gateway.
func around(m *testing.M) (status int, err error) {
	random := make([]byte, 4)
	if _, err = rand.Read(random); err != nil {
		return 1, err
	}
	run = "go-" + hex.EncodeToString(random)
	client, err = scw.NewClient(scw.WithEnv(), scw.WithHTTPClient(&http.Client{Transport: wire, Timeout: 30 * time.Second}))
	if err != nil {
		return 1, err
	}
	region, _ = client.GetDefaultRegion()
	vpn, vpcs, ips, secrets = s2s.NewAPI(client), vpc.NewAPI(client), ipam.NewAPI(client), secret.NewAPI(client)

	parent, err := vpcs.CreateVPC(&vpc.CreateVPCRequest{Name: run, Tags: []string{"go"}})
	if err != nil {
		return 1, fmt.Errorf("the VPC: %w", err)
	}
	defer func() {
		err = errors.Join(err, vpcs.DeleteVPC(&vpc.DeleteVPCRequest{VpcID: parent.ID}))
	}()
	network, err = vpcs.CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{
		Name: run, VpcID: &parent.ID, Subnets: []scw.IPNet{cidr("10.79.0.0/24")},
	})
	if err != nil {
		return 1, fmt.Errorf("the Private Network: %w", err)
	}
	defer func() {
		err = errors.Join(err, vpcs.DeletePrivateNetwork(&vpc.DeletePrivateNetworkRequest{PrivateNetworkID: network.ID}))
	}()
	gateway, err = vpn.CreateVpnGateway(&s2s.CreateVpnGatewayRequest{
		Name: run, GatewayType: "VGW-S", PrivateNetworkID: network.ID, Tags: []string{"go", run},
	})
	if err != nil {
		return 1, fmt.Errorf("the gateway: %w", err)
	}
	defer func() { err = errors.Join(err, removeGateway(gateway.ID)) }()
	if gateway.Status != s2s.VpnGatewayStatusProvisioning {
		return 1, fmt.Errorf("a new gateway is %s", gateway.Status)
	}
	if gateway, err = settled(gateway.ID); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// settled waits with the SDK's own waiter.
func settled(id string) (*s2s.VpnGateway, error) {
	return vpn.WaitForVpnGateway(&s2s.WaitForVpnGatewayRequest{
		GatewayID: id, Region: region, Timeout: scw.TimeDurationPtr(timeout), RetryInterval: scw.TimeDurationPtr(50 * time.Millisecond),
	})
}

// removeGateway deletes it as Terraform does: wait for a settled status, delete, wait for 404.
func removeGateway(id string) error {
	if _, err := settled(id); err != nil {
		return err
	}
	deleted, err := vpn.DeleteVpnGateway(&s2s.DeleteVpnGatewayRequest{GatewayID: id})
	if err != nil {
		return err
	}
	if deleted.Status != s2s.VpnGatewayStatusDeprovisioning {
		return fmt.Errorf("the answer to the deletion says %s", deleted.Status)
	}
	state, err := settled(id)
	var gone *scw.ResourceNotFoundError
	if !errors.As(err, &gone) {
		return fmt.Errorf("gateway %s after its deletion: %v, %v", id, state, err)
	}
	if gone.Resource != "vpn_gateway" || gone.ResourceID != id {
		return fmt.Errorf("not found: %s %s", gone.Resource, gone.ResourceID)
	}
	return nil
}

func cidr(text string) scw.IPNet {
	address, network, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	return scw.IPNet{IPNet: net.IPNet{IP: address, Mask: network.Mask}}
}

func pointer[T any](value T) *T { return &value }

// must is for calls that have to succeed.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%v%s", err, body(err))
		}
		return value
	}
}

// body is the answer that an SDK's error keeps, for messages.
func body(err error) string {
	var raw interface{ GetRawBody() []byte }
	if errors.As(err, &raw) {
		return " " + string(raw.GetRawBody())
	}
	return ""
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, wanted T) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s is %v, not %v", what, got, wanted)
	}
}

func same[T any](t *testing.T, what string, got, wanted T) {
	t.Helper()
	equal(t, what, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", wanted))
}

func customer(t *testing.T, address string) *s2s.CustomerGateway {
	t.Helper()
	mask := "/32"
	request := &s2s.CreateCustomerGatewayRequest{Name: run, Tags: []string{run}, Asn: 65010}
	if strings.Contains(address, ":") {
		mask = "/128"
		request.IPv6Public = pointer(cidr(address + mask))
	} else {
		request.IPv4Public = pointer(cidr(address + mask))
	}
	made := must(vpn.CreateCustomerGateway(request))(t)
	t.Cleanup(func() {
		if err := vpn.DeleteCustomerGateway(&s2s.DeleteCustomerGatewayRequest{GatewayID: made.ID}); err != nil {
			t.Errorf("deleting the customer gateway: %v", err)
		}
	})
	return made
}

func policy(t *testing.T, ipv6 bool) *s2s.RoutingPolicy {
	t.Helper()
	in, out := cidr("10.99.0.0/16"), cidr("10.79.0.0/24")
	if ipv6 {
		in, out = cidr("fd99::/48"), cidr("fd00::/8")
	}
	made := must(vpn.CreateRoutingPolicy(&s2s.CreateRoutingPolicyRequest{
		Name: run, Tags: []string{run}, IsIPv6: ipv6, PrefixFilterIn: []scw.IPNet{in}, PrefixFilterOut: []scw.IPNet{out},
	}))(t)
	t.Cleanup(func() {
		if err := vpn.DeleteRoutingPolicy(&s2s.DeleteRoutingPolicyRequest{RoutingPolicyID: made.ID}); err != nil {
			t.Errorf("deleting the routing policy: %v", err)
		}
	})
	return made
}

func ciphers() []*s2s.ConnectionCipher {
	return []*s2s.ConnectionCipher{
		{Encryption: s2s.ConnectionEncryptionAes256gcm, DhGroup: pointer(s2s.ConnectionDhGroupCurve25519)},
		{
			Encryption: s2s.ConnectionEncryptionAes256,
			Integrity:  pointer(s2s.ConnectionIntegritySha256),
			DhGroup:    pointer(s2s.ConnectionDhGroupModp2048),
		},
	}
}

// wanted is the request for a connection to `peer` as the SDK sends it, to be changed by the caller.
func wanted(peer *s2s.CustomerGateway, policy *s2s.RoutingPolicy) *s2s.CreateConnectionRequest {
	request := &s2s.CreateConnectionRequest{
		Name: run, Tags: []string{run}, InitiationPolicy: s2s.CreateConnectionRequestInitiationPolicyCustomerGateway,
		Ikev2Ciphers: []*s2s.ConnectionCipher{{
			Encryption: s2s.ConnectionEncryptionAes256gcm,
			Integrity:  pointer(s2s.ConnectionIntegritySha384),
			DhGroup:    pointer(s2s.ConnectionDhGroupCurve25519),
		}},
		EspCiphers: ciphers(), VpnGatewayID: gateway.ID, CustomerGatewayID: peer.ID,
	}
	if policy != nil {
		request.BgpConfigIPv4 = &s2s.CreateConnectionRequestBgpConfig{RoutingPolicyID: policy.ID}
	}
	return request
}

func connection(t *testing.T, request *s2s.CreateConnectionRequest) *s2s.Connection {
	t.Helper()
	answer := must(vpn.CreateConnection(request))(t)
	if answer.PreSharedKey == nil || *answer.PreSharedKey != "" {
		t.Errorf("keys are read from the secret manager only, but the answer has %v", answer.PreSharedKey)
	}
	t.Cleanup(func() {
		err := vpn.DeleteConnection(&s2s.DeleteConnectionRequest{ConnectionID: answer.Connection.ID})
		var gone *scw.ResourceNotFoundError
		if err != nil && !errors.As(err, &gone) {
			t.Errorf("deleting the connection: %v", err)
		}
	})
	return answer.Connection
}
