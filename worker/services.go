package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/kernel"
)

// ProxyConfig says which data path serves Services, and where.
type ProxyConfig struct {
	// Mode of auto takes eBPF where it can be had, else user space.
	Mode service.Mode
	// Cgroup is the control group whose programs reach Services through eBPF; the root of the cgroup2 file system, so
	// that everybody on the machine does.
	Cgroup string
	// PinDir is where the eBPF data path outlives the worker, on a bpffs; empty where it ends with the worker.
	PinDir string
	// Healthz is where the proxy's health is told; empty for nowhere.
	Healthz string
}

// DefaultPinDir is the folder for the pins of the node with that root directory, "" where no bpffs is mounted. Two
// nodes of one machine have different ones.
func DefaultPinDir(rootDir string) string {
	root, err := kernel.PinRoot()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(filepath.Clean(rootDir)))
	return filepath.Join(root, "petrel", hex.EncodeToString(sum[:4]))
}

// onLoopback reports whether the node is for this machine alone.
func (c *Config) onLoopback() bool {
	return !slices.ContainsFunc(c.NodeIPs, func(ip netip.Addr) bool { return !ip.IsLoopback() })
}

// newServices makes the service proxy with both data paths; which one serves is decided when it runs.
func (w *Worker) newServices(files paths, events *events) (*service.Server, error) {
	machine := kernel.Machine{Cgroup: w.cfg.Proxy.Cgroup, PinDir: w.cfg.Proxy.PinDir, Logger: w.cfg.Logger}
	cfg := service.Config{
		Client: w.cfg.Client, Catalog: w.catalog, NodeName: w.cfg.NodeName, StateFile: files.services(), GatewayListen: w.cfg.GatewayListen,
		Mode: w.cfg.Proxy.Mode, NodeAddrs: w.cfg.proxyAddresses(), Inside: w.cfg.ClusterCIDRs, HealthzListen: w.cfg.Proxy.Healthz, Recorder: events, Logger: w.cfg.Logger,
	}
	if w.cfg.onLoopback() {
		cfg.HealthAddrs = w.cfg.NodeIPs
	} else {
		machine.Interfaces = kernel.ExternalInterfaces
	}
	machine.Opened = w.opened
	path, err := kernel.New(kernel.Config{Proxy: machine.Programs(), Addresses: func() ([]netip.Addr, error) { return w.cfg.proxyAddresses(), nil }, Recorder: events, Logger: w.cfg.Logger})
	if err != nil {
		return nil, err
	}
	cfg.Kernel = &guardedPath{Path: path, guard: w.guard}
	if w.cfg.Proxy.Mode == service.Userspace {
		cfg.Kernel = nil
		w.guard.without()
	}
	w.removeStale()
	services, err := service.New(cfg)
	if err != nil {
		return nil, err
	}
	w.metrics.registry.MustRegister(path, services, w.steering)
	return services, nil
}

// removeStale takes away what an earlier run has pinned where this one will not look: it would go on serving what was,
// beside what is.
func (w *Worker) removeStale() {
	for _, dir := range []string{w.cfg.Proxy.PinDir, DefaultPinDir(w.cfg.RootDir)} {
		if dir == "" || dir == w.cfg.Proxy.PinDir && w.cfg.Proxy.Mode != service.Userspace {
			continue
		}
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := (kernel.Machine{Cgroup: w.cfg.Proxy.Cgroup, PinDir: dir, Logger: w.cfg.Logger}).Remove(); err != nil {
			w.cfg.Logger.Warn("eBPF programs of an earlier run were not removed", "error", err)
		}
	}
}

// RemoveProxy takes away what serves Services in the kernel. The worker must not run.
func (w *Worker) RemoveProxy() error {
	return kernel.Machine{Cgroup: w.cfg.Proxy.Cgroup, PinDir: w.cfg.Proxy.PinDir, Logger: w.cfg.Logger}.Remove()
}

// proxyAddresses are where node ports and host ports are: at the node's addresses, and for its own programs at the loopback ones.
func (c *Config) proxyAddresses() []netip.Addr {
	out := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	for _, ip := range c.NodeIPs {
		if !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}
