package conformance

import (
	"testing"

	account "github.com/scaleway/scaleway-sdk-go/api/account/v3"
	iam "github.com/scaleway/scaleway-sdk-go/api/iam/v1alpha1"
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
