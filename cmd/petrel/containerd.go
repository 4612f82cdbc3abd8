package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/worker"
	"github.com/petrelrun/petrel/worker/containerd"
	"github.com/petrelrun/petrel/worker/network/cni"
)

// Values of --containerd.
const (
	containerdAuto   = "auto"
	containerdOwn    = "own"
	containerdSystem = "system"
	containerdOff    = "off"
)

// containersStopTimeout bounds the end of all container pods; those that take longer go on.
const containersStopTimeout = 2 * time.Minute

// containerdFlags say what runs containers on the node.
type containerdFlags struct {
	Mode    string
	Program string
	Socket  string
	// Registries is the directory of registries' settings for a containerd of our own.
	Registries string
}

func (o *containerdFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Mode, "containerd", containerdAuto, "what runs containers: own, a containerd of the worker's own; system, the machine's; off, nothing; auto, own where containerd is installed, and this is root in a cluster with pod addresses that are no loopback addresses")
	f.StringVar(&o.Program, "containerd-program", "containerd", "the program of --containerd=own")
	f.StringVar(&o.Socket, "containerd-socket", "/run/containerd/containerd.sock", "socket of --containerd=system, which has to use the network that petrel cni install sets up")
}

func (o *containerdFlags) check(network *networkFlags, clustered bool) error {
	switch o.Mode {
	case containerdAuto, containerdOff:
		return nil
	case containerdOwn, containerdSystem:
	default:
		return fmt.Errorf("--containerd %q: want auto, own, system or off", o.Mode)
	}
	if !clustered {
		return fmt.Errorf("--containerd=%s: containers have no addresses where pods' are loopback addresses: add --node-ip to petrel worker, or --network cluster to petrel up", o.Mode)
	}
	if o.Mode == containerdSystem && network.CNISocket == "" {
		return errors.New("--containerd=system: add --cni-socket, and tell containerd of it with petrel cni install")
	}
	return nil
}

// containers are what runs containers on the node; nil where nothing does.
type containers struct {
	Endpoint string // of the CRI
	CNI      string // the worker's socket for it
	daemon   *containerd.Daemon
	install  cni.Install
}

// settle finds out what runs containers, and makes a daemon where it is to be our own. Nothing is started.
func (o *containerdFlags) settle(ctx context.Context, dir *dataDir, network *networkFlags, clustered bool, logger *slog.Logger) (*containers, error) {
	switch {
	case o.Mode == containerdSystem:
		return &containers{Endpoint: o.Socket, CNI: network.CNISocket}, nil
	case o.Mode == containerdOff, o.Mode == containerdAuto && (!clustered || os.Geteuid() != 0):
		return nil, nil
	}
	program, err := containerd.Find(ctx, o.Program)
	if o.Mode == containerdAuto && err != nil {
		level := slog.LevelWarn // it is there, and of no use
		if errors.Is(err, containerd.ErrNotInstalled) {
			level = slog.LevelInfo
		}
		logger.Log(ctx, level, "this node runs no containers", "reason", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	handlers := containerd.Handlers()
	if o.Mode == containerdAuto && len(handlers) == 0 {
		logger.Warn("this node runs no containers", "reason", "neither runc nor crun is installed")
		return nil, nil
	}
	return ownContainers(program, handlers, dir, network, o.Registries, logger)
}

// ownContainers is a containerd in the data directory. Sockets and mounts go with the machine's next start.
func ownContainers(program containerd.Program, handlers []containerd.Handler, dir *dataDir, network *networkFlags, registries string, logger *slog.Logger) (*containers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	sum := sha256.Sum256([]byte(dir.path))
	state := filepath.Join("/run/petrel", fmt.Sprintf("%x", sum[:6])) // short: sockets are in it
	root := dir.join("containerd")
	c := &containers{CNI: network.CNISocket, install: cni.Install{
		ConfDir: filepath.Join(root, "cni", "net.d"), BinDir: filepath.Join(root, "cni", "bin"), Program: self,
	}}
	if c.CNI == "" {
		c.CNI = filepath.Join(state, "cni.sock")
	}
	c.install.Socket = c.CNI
	c.daemon, err = containerd.New(containerd.Config{
		Program: program, Root: root, State: state, CNIConfDir: c.install.ConfDir, CNIBinDirs: []string{c.install.BinDir},
		Handlers: handlers, RegistryConfigDir: registries, RestrictOOM: !mayLowerOOM(), Logger: logger.With("room", "containerd"),
	})
	if err != nil {
		return nil, err
	}
	c.Endpoint = c.daemon.Socket()
	return c, nil
}

// mayLowerOOM reports whether this process may make others less likely to be killed for memory than itself.
func mayLowerOOM() bool {
	var header unix.CapUserHeader
	var data [2]unix.CapUserData
	header.Version = unix.LINUX_CAPABILITY_VERSION_3
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// Run keeps a daemon of our own serving until ctx ends.
func (c *containers) Run(ctx context.Context) error {
	if c == nil || c.daemon == nil {
		return nil
	}
	if err := c.install.Write(); err != nil {
		return err
	}
	return c.daemon.Run(ctx)
}

// Stop ends all pods with containers, and a daemon of our own. It comes after both Runs.
func (c *containers) Stop(node *worker.Worker) error {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), containersStopTimeout)
	defer cancel()
	err := node.StopContainers(ctx)
	if c.daemon != nil {
		err = errors.Join(err, c.daemon.Stop(ctx))
	}
	return err
}

// tell puts into a worker's options what it has to know.
func (c *containers) tell(o *workerOptions) {
	if c != nil {
		o.ContainerdEndpoint, o.Network.CNISocket = c.Endpoint, c.CNI
	}
}
