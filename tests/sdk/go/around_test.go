package conformance

import (
	"testing"

	account "github.com/scaleway/scaleway-sdk-go/api/account/v3"
	iam "github.com/scaleway/scaleway-sdk-go/api/iam/v1alpha1"
	ipam "github.com/scaleway/scaleway-sdk-go/api/ipam/v1"
	secret "github.com/scaleway/scaleway-sdk-go/api/secret/v1beta1"
	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

func TestVpcAndItsNetworks(t *testing.T) {
	made := must(vpcs.CreateVPC(&vpc.CreateVPCRequest{Name: run + "-around"}))(t)
	t.Cleanup(func() { succeeds(t, vpcs.DeleteVPC(&vpc.DeleteVPCRequest{VpcID: made.ID})) })
	changed := must(vpcs.UpdateVPC(&vpc.UpdateVPCRequest{VpcID: made.ID, Tags: &[]string{"b", "a"}}))(t)
	same(t, "tags", changed.Tags, []string{"b", "a"})
	equal(t, "name", changed.Name, made.Name)
	equal(t, "routing", must(vpcs.EnableRouting(&vpc.EnableRoutingRequest{VpcID: made.ID}))(t).RoutingEnabled, true)
	propagating := must(vpcs.EnableCustomRoutesPropagation(&vpc.EnableCustomRoutesPropagationRequest{VpcID: made.ID}))(t)
	equal(t, "propagation", propagating.CustomRoutesPropagationEnabled, true)
	inside := must(vpcs.CreatePrivateNetwork(&vpc.CreatePrivateNetworkRequest{Name: run + "-around", VpcID: &made.ID}))(t)
	t.Cleanup(func() {
		succeeds(t, vpcs.DeletePrivateNetwork(&vpc.DeletePrivateNetworkRequest{PrivateNetworkID: inside.ID}))
	})
	renamed := must(vpcs.UpdatePrivateNetwork(&vpc.UpdatePrivateNetworkRequest{PrivateNetworkID: inside.ID, Name: pointer("n2")}))(t)
	equal(t, "name", renamed.Name, "n2")
	equal(t, "subnets", len(renamed.Subnets), 2)
	equal(t, "DHCP", must(vpcs.EnableDHCP(&vpc.EnableDHCPRequest{PrivateNetworkID: inside.ID}))(t).DHCPEnabled, true)
	rules := must(vpcs.GetACL(&vpc.GetACLRequest{VpcID: made.ID, IsIPv6: true}))(t)
	equal(t, "rules", len(rules.Rules), 0)
	equal(t, "default", rules.DefaultPolicy, vpc.ActionAccept)
	wanted := []*vpc.ACLRule{{
		Protocol: vpc.ACLRuleProtocolTCP, Source: cidr("::/0"), Destination: cidr("fd00::/8"), DstPortLow: 22, DstPortHigh: 23,
		Action: vpc.ActionDrop, Description: pointer("no shells"),
	}}
	set := must(vpcs.SetACL(&vpc.SetACLRequest{VpcID: made.ID, Rules: wanted, IsIPv6: true, DefaultPolicy: vpc.ActionAccept}))(t)
	equal(t, "rules", len(set.Rules), 1)
	equal(t, "ports", set.Rules[0].DstPortHigh, 23)
	equal(t, "source", set.Rules[0].Source.String(), "::/0")
	_, wrong := vpcs.SetACL(&vpc.SetACLRequest{VpcID: made.ID, Rules: wanted, DefaultPolicy: vpc.ActionAccept})
	equal(t, "wrong fields", len(parsed[*scw.InvalidArgumentsError](t, "rules of the other family", wrong).Details), 2)
	// As Terraform destroys it: `rules` is null.
	cleared := must(vpcs.SetACL(&vpc.SetACLRequest{VpcID: made.ID, IsIPv6: true, DefaultPolicy: vpc.ActionAccept}))(t)
	equal(t, "rules", len(cleared.Rules), 0)
}

func TestRoutesThroughAnAddressOfOnesOwn(t *testing.T) {
	router := &ipam.CustomResource{MacAddress: "bc:24:11:74:d0:5b", Name: pointer("router")}
	booked := must(ips.BookIP(&ipam.BookIPRequest{Source: &ipam.Source{PrivateNetworkID: &network.ID}}))(t)
	attached := must(ips.AttachIP(&ipam.AttachIPRequest{IPID: booked.ID, Resource: router}))(t)
	equal(t, "type", attached.Resource.Type, ipam.ResourceTypeCustom)
	equal(t, "MAC address", *attached.Resource.MacAddress, "BC:24:11:74:D0:5B")
	named := must(ips.UpdateIP(&ipam.UpdateIPRequest{IPID: booked.ID, Reverses: []*ipam.Reverse{{Hostname: "router.example.net"}}}))(t)
	equal(t, "name", named.Reverses[0].Hostname, "router.example.net")
	made := must(vpcs.CreateRoute(&vpc.CreateRouteRequest{
		VpcID: network.VpcID, Destination: cidr("10.98.0.0/16"), NexthopResourceID: &booked.ID, Tags: []string{run},
	}))(t)
	equal(t, "description", made.Description, "Custom route")
	equal(t, "network", *made.NexthopPrivateNetworkID, network.ID)
	equal(t, "no connector", made.NexthopVpcConnectorID == nil, true)
	read := must(vpcs.GetRoute(&vpc.GetRouteRequest{RouteID: made.ID}))(t)
	equal(t, "destination", read.Destination.String(), "10.98.0.0/16")
	changed := must(vpcs.UpdateRoute(&vpc.UpdateRouteRequest{RouteID: made.ID, Description: pointer("d")}))(t)
	equal(t, "description", changed.Description, "d")
	listed := must(vpc.NewRoutesWithNexthopAPI(client).ListRoutesWithNexthop(&vpc.RoutesWithNexthopAPIListRoutesWithNexthopRequest{
		VpcID: &network.VpcID, Tags: []string{run}, Contains: pointer(cidr("10.98.7.0/24")),
	}, scw.WithAllPages()))(t)
	equal(t, "found", int(listed.TotalCount), 1)
	equal(t, "route", listed.Routes[0].Route.ID, made.ID)
	equal(t, "next hop", listed.Routes[0].NexthopIP.String(), booked.Address.IP.String())
	equal(t, "name", *listed.Routes[0].NexthopName, "router")
	again := second(vpcs.CreateRoute(&vpc.CreateRouteRequest{
		VpcID: network.VpcID, Destination: cidr("10.98.0.0/16"), NexthopResourceID: &booked.ID,
	}))
	if failed, ok := again.(*scw.ResponseError); !ok || failed.StatusCode != 409 || failed.Type != "already_exists" {
		t.Errorf("the same destination again: %v%s", again, body(again))
	}
	other := &ipam.CustomResource{MacAddress: "02:00:00:00:00:01"}
	moved := must(ips.MoveIP(&ipam.MoveIPRequest{IPID: booked.ID, FromResource: router, ToResource: other}))(t)
	equal(t, "MAC address", *moved.Resource.MacAddress, "02:00:00:00:00:01")
	held := second(ips.DetachIP(&ipam.DetachIPRequest{IPID: booked.ID, Resource: other}))
	equal(t, "precondition", parsed[*scw.PreconditionFailedError](t, "a next hop", held).Precondition, "resource_still_in_use")
	succeeds(t, vpcs.DeleteRoute(&vpc.DeleteRouteRequest{RouteID: made.ID}))
	gone := second(vpcs.GetRoute(&vpc.GetRouteRequest{RouteID: made.ID}))
	equal(t, "resource", parsed[*scw.ResourceNotFoundError](t, "a deleted route", gone).Resource, "unknown")
	detached := must(ips.DetachIP(&ipam.DetachIPRequest{IPID: booked.ID, Resource: other}))(t)
	equal(t, "detached", detached.Resource == nil, true)
	succeeds(t, ips.ReleaseIPSet(&ipam.ReleaseIPSetRequest{IPIDs: []string{booked.ID}}))
	equal(t, "released", second(ips.GetIP(&ipam.GetIPRequest{IPID: booked.ID})) != nil, true)
}

func TestTypedSecretsFoldersAndOwners(t *testing.T) {
	folder := "/" + run
	made := must(secrets.CreateSecret(&secret.CreateSecretRequest{
		Name: "key", Type: secret.SecretTypeSSHKey, Path: &folder, Tags: []string{run},
	}))(t)
	t.Cleanup(func() { succeeds(t, secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: made.ID})) })
	bad := second(secrets.CreateSecretVersion(&secret.CreateSecretVersionRequest{SecretID: made.ID, Data: []byte(`{"key":"k"}`)}))
	detail := parsed[*scw.InvalidArgumentsError](t, "data of another type", bad).Details[0]
	equal(t, "argument", detail.ArgumentName, "data")
	equal(t, "reason", detail.Reason, "format")
	data := []byte(`{"ssh_private_key":"k"}`)
	must(secrets.CreateSecretVersion(&secret.CreateSecretVersionRequest{SecretID: made.ID, Data: data}))(t)
	id, _ := client.GetDefaultProjectID()
	read := must(secrets.AccessSecretVersionByPath(&secret.AccessSecretVersionByPathRequest{
		Revision: "latest_enabled", SecretPath: folder, SecretName: "key", ProjectID: id,
	}))(t)
	equal(t, "secret", read.SecretID, made.ID)
	equal(t, "data", string(read.Data), string(data))
	succeeds(t, secrets.AddSecretOwner(&secret.AddSecretOwnerRequest{SecretID: made.ID, Product: secret.ProductS2sVpn}))
	owned := must(secrets.GetSecret(&secret.GetSecretRequest{SecretID: made.ID}))(t)
	same(t, "owners", owned.UsedBy, []secret.Product{secret.ProductS2sVpn})
	equal(t, "types", int(must(secrets.ListSecretTypes(&secret.ListSecretTypesRequest{}))(t).TotalCount), 6)
	tags := must(secrets.ListTags(&secret.ListTagsRequest{}, scw.WithAllPages()))(t)
	equal(t, "tags", int(tags.TotalCount), len(tags.Tags))
}

func TestSecretAndItsVersions(t *testing.T) {
	made := must(secrets.CreateSecret(&secret.CreateSecretRequest{Name: run + "-around"}))(t)
	found := must(secrets.ListSecrets(&secret.ListSecretsRequest{Name: &made.Name}, scw.WithAllPages()))(t)
	equal(t, "found", found.Secrets[0].ID, made.ID)
	version := must(secrets.CreateSecretVersion(&secret.CreateSecretVersionRequest{SecretID: made.ID, Data: []byte("one")}))(t)
	read := must(secrets.GetSecretVersion(&secret.GetSecretVersionRequest{SecretID: made.ID, Revision: "latest"}))(t)
	equal(t, "revision", read.Revision, version.Revision)
	described := must(secrets.UpdateSecretVersion(&secret.UpdateSecretVersionRequest{
		SecretID: made.ID, Revision: "1", Description: pointer("d"),
	}))(t)
	equal(t, "description", *described.Description, "d")
	off := must(secrets.DisableSecretVersion(&secret.DisableSecretVersionRequest{SecretID: made.ID, Revision: "1"}))(t)
	equal(t, "status", off.Status, secret.SecretVersionStatusDisabled)
	on := must(secrets.EnableSecretVersion(&secret.EnableSecretVersionRequest{SecretID: made.ID, Revision: "1"}))(t)
	equal(t, "status", on.Status, secret.SecretVersionStatusEnabled)
	changed := must(secrets.UpdateSecret(&secret.UpdateSecretRequest{SecretID: made.ID, Tags: &[]string{"b"}}))(t)
	same(t, "tags", changed.Tags, []string{"b"})
	equal(t, "protected", must(secrets.ProtectSecret(&secret.ProtectSecretRequest{SecretID: made.ID}))(t).Protected, true)
	failed := parsed[*scw.PreconditionFailedError](t, "protected", secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: made.ID}))
	equal(t, "precondition", failed.Precondition, "protected_resource")
	equal(t, "protected", must(secrets.UnprotectSecret(&secret.UnprotectSecretRequest{SecretID: made.ID}))(t).Protected, false)
	succeeds(t, secrets.DeleteSecretVersion(&secret.DeleteSecretVersionRequest{SecretID: made.ID, Revision: "1"}))
	succeeds(t, secrets.DeleteSecret(&secret.DeleteSecretRequest{SecretID: made.ID}))
}

func TestProjectAndKey(t *testing.T) {
	projects := account.NewProjectAPI(client)
	id, _ := client.GetDefaultProjectID()
	organization, _ := client.GetDefaultOrganizationID()
	own := must(projects.GetProject(&account.ProjectAPIGetProjectRequest{ProjectID: id}))(t)
	equal(t, "organization", own.OrganizationID, organization)
	all := must(projects.ListProjects(&account.ProjectAPIListProjectsRequest{}, scw.WithAllPages()))(t)
	equal(t, "listed", int(all.TotalCount), len(all.Projects))
	made := must(projects.CreateProject(&account.ProjectAPICreateProjectRequest{Name: run, Description: "d"}))(t)
	equal(t, "description", made.Description, "d")
	changed := must(projects.UpdateProject(&account.ProjectAPIUpdateProjectRequest{ProjectID: made.ID, Description: pointer("e")}))(t)
	equal(t, "description", changed.Description, "e")
	equal(t, "name", changed.Name, run)
	succeeds(t, projects.DeleteProject(&account.ProjectAPIDeleteProjectRequest{ProjectID: made.ID}))
	_, gone := projects.GetProject(&account.ProjectAPIGetProjectRequest{ProjectID: made.ID})
	equal(t, "resource", parsed[*scw.ResourceNotFoundError](t, "a deleted project", gone).Resource, "project_id")
	access, _ := client.GetAccessKey()
	key := must(iam.NewAPI(client).GetAPIKey(&iam.GetAPIKeyRequest{AccessKey: access}))(t)
	equal(t, "access key", key.AccessKey, access)
	equal(t, "project", key.DefaultProjectID, id)
	equal(t, "no secret", key.SecretKey == nil, true)
	_, err := iam.NewAPI(client).GetAPIKey(&iam.GetAPIKeyRequest{AccessKey: "SCWAAAAAAAAAAAAAAAAA"})
	equal(t, "resource", parsed[*scw.ResourceNotFoundError](t, "a stranger's key", err).Resource, "access_key")
}
