package main

import (
	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/cmd/petrel/client"
)

// newRoot puts the commands together: those that run a cluster are in this package, those that talk to one in client.
func newRoot(io streams) *cobra.Command {
	return client.NewRoot(version, client.Streams(io),
		newUpCommand(io),
		newControlPlaneCommand(io),
		newWorkerCommand(io),
		newCNICommand(io),
		newProxyCommand(io),
		newLabCommand(io),
	)
}
