// Command routes prints the routes of a VPC as the official SDK lists them, one a line: type, destination, type of the next hop, its id, and its
// address. The service is the one that the environment names. Usage: routes VPC
package main

import (
	"fmt"
	"os"

	vpc "github.com/scaleway/scaleway-sdk-go/api/vpc/v2"
	"github.com/scaleway/scaleway-sdk-go/scw"
)

func main() {
	if err := list(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func list() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: %s VPC", os.Args[0])
	}
	client, err := scw.NewClient(scw.WithEnv())
	if err != nil {
		return err
	}
	api := vpc.NewRoutesWithNexthopAPI(client)
	request := &vpc.RoutesWithNexthopAPIListRoutesWithNexthopRequest{VpcID: &os.Args[1]}
	answer, err := api.ListRoutesWithNexthop(request, scw.WithAllPages())
	if err != nil {
		return err
	}
	for _, listed := range answer.Routes {
		hop, address := "-", "-"
		if listed.Route.NexthopResourceID != nil {
			hop = *listed.Route.NexthopResourceID
		}
		if listed.NexthopIP != nil {
			address = listed.NexthopIP.String()
		}
		fmt.Println(listed.Route.Type, listed.Route.Destination.String(), listed.NexthopResourceType, hop, address)
	}
	return nil
}
