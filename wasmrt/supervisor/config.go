package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
	"github.com/petrelrun/petrel/wasmrt/supervisor/users"
)

// RuntimeName is what the runtime calls itself.
const RuntimeName = "petrel-wasmrt"

// Handlers are the runtime handlers served. The empty one is the default.
var Handlers = []string{"", "wasm"}

const (
	// maxReceive bounds a request of the CRI's client, as the kubelet bounds its own.
	maxReceive = 16 << 20
	// maxSend bounds an answer. A list of 10,000 containers with annotations is about 10 MiB.
	maxSend = 64 << 20
	// pageSize is the number of items in one message of a streamed list.
	pageSize = 256
	// callTimeout bounds a call to a runner that does not wait for a guest.
	callTimeout = time.Minute
	// stopSlack is what a runner may take to stop a container beyond its grace.
	stopSlack = 10 * time.Second
	// settle is how long an exit that a call has caused may take to be told.
	settle = 5 * time.Second
	// exitGrace is what containers get when the runtime ends with its runners.
	exitGrace = 2 * time.Second
	// serverGrace is what calls under way get when the runtime ends.
	serverGrace = 3 * time.Second
)

// Config is what a Supervisor needs.
type Config struct {
	// Root is where images and records are kept.
	Root string
	// Socket is the unix socket that the CRI is served on; only this user can connect to it.
	Socket string
	// PodCIDR is where sandboxes get addresses from that bring none, until the client sets another.
	PodCIDR netip.Prefix
	// SteerSocket is where somebody may steer connections to the runners' sockets; empty: nobody does.
	SteerSocket string
	Mirrors     image.Mirrors
	// RegistryDir is a directory of settings of registries (hosts.toml), as containerd reads it; empty: none.
	RegistryDir string
	// MirrorTLS is what mirrors with an https address are asked with; nil: nothing of their own.
	MirrorTLS *image.MirrorTLS
	Version   string
	// StopRunnersOnExit ends all pods with the supervisor. Without it they run on and are adopted by the next.
	StopRunnersOnExit bool
	// RunnerCommand makes the command of a namespace's runner.
	RunnerCommand func(namespace string) *exec.Cmd
	// CacheDir is where compilers keep machine code and runners find it.
	CacheDir string
	// Users are the user ids of runners. Without any they have the supervisor's.
	Users users.Range
	// RunnerLimits bounds what each runner takes, in a control group below CgroupParent, or below the supervisor's own.
	RunnerLimits cgroup.Limits
	CgroupParent string
	// AllowPaths are the directories below which logs and mounts may lie. None: anywhere.
	AllowPaths []string
	// TrustAnnotations says that the client writes the annotations that name files of this host itself. Kubelets hand on
	// those of whoever made the pod, who must not choose among the host's files.
	TrustAnnotations bool
	// Compiler inspects and compiles modules, in processes of their own.
	Compiler Compiler
	Timing   fleet.Timing
	Logger   *slog.Logger
	Now      func() time.Time
}

// Validate names what is missing or cannot be.
func (c *Config) Validate() error {
	if c.RunnerCommand == nil || c.Compiler == nil || c.Logger == nil || c.Now == nil {
		return errors.New("supervisor: RunnerCommand, Compiler, Logger and Now are required")
	}
	if !filepath.IsAbs(c.Root) || !filepath.IsAbs(c.Socket) {
		return fmt.Errorf("supervisor: root %q and socket %q must be absolute paths", c.Root, c.Socket)
	}
	if c.SteerSocket != "" && !filepath.IsAbs(c.SteerSocket) {
		return fmt.Errorf("supervisor: socket of what steers %q must be an absolute path", c.SteerSocket)
	}
	if !c.PodCIDR.IsValid() {
		return errors.New("supervisor: the pod CIDR is required")
	}
	for _, dir := range c.AllowPaths {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return fmt.Errorf("supervisor: directory for logs and mounts %q must be an absolute, clean path", dir)
		}
	}
	return nil
}
