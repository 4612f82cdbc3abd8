package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/cmd/petrel/client"
	"github.com/petrelrun/petrel/worker/network/cni"
)

// newCNICommand tells a container runtime of the plugin.
func newCNICommand(io streams) *cobra.Command {
	var i cni.Install
	cmd := &cobra.Command{
		Use:   "cni",
		Short: "Have a container runtime use Petrel's pod network",
		Long: `Have a container runtime on this machine, such as containerd, attach its containers to Petrel's pod network.

The runtime executes this program by the name petrel-cni, which hands its calls to the worker that was started with
petrel worker --node-ip --cni-socket.`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&i.ConfDir, "conf-dir", "/etc/cni/net.d", "where the runtime looks for network configurations")
	f.StringVar(&i.BinDir, "bin-dir", "/opt/cni/bin", "where the runtime looks for plugins")
	f.StringVar(&i.Socket, "socket", "/run/petrel/cni.sock", "where the worker listens: its --cni-socket")
	cmd.AddCommand(&cobra.Command{
		Use: "install", Short: "Write the network configuration and the plugin's link", Args: client.Usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return installCNI(io, i) },
	}, &cobra.Command{
		Use: "remove", Short: "Remove the network configuration and the plugin's link", Args: client.Usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return i.Remove() },
	})
	return cmd
}

func installCNI(io streams, i cni.Install) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	i.Program = program
	if err := i.Validate(); err != nil {
		return client.UsageError(err)
	}
	if err := i.Write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Out, "%s uses the pod network of the worker at %s\n", i.ConfDir, i.Socket)
	return err
}

// checkCNISocket finds what makes a worker's socket of no use.
func checkCNISocket(socket string, clustered bool) error {
	switch {
	case socket == "":
		return nil
	case !filepath.IsAbs(socket):
		return fmt.Errorf("--cni-socket %q: want an absolute path", socket)
	case !clustered:
		return errors.New("--cni-socket: containers have addresses only in a cluster of several machines: add --node-ip")
	}
	return nil
}
