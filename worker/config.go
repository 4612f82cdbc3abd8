package worker

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/worker/service"
)

// Config says what the worker works with. Fields that are empty get the defaults named here.
type Config struct {
	// Client talks to the API. Its own rate limit should be off: the worker bounds its calls by itself.
	Client kubernetes.Interface
	// NodeName is the Node's name; the machine's host name in lower case.
	NodeName string
	// NodeIPs are the Node's addresses, the first one foremost; 127.0.0.1.
	NodeIPs []netip.Addr
	// NodeLabels are put on the Node beside the worker's own.
	NodeLabels map[string]string
	// MaxPods is how many pods the node takes; 11,000.
	MaxPods int
	// Version is told as the Node's kubelet version; v1.37.2-petrel.
	Version string
	// RuntimeEndpoint is the unix socket of the CRI runtime.
	RuntimeEndpoint string
	// ContainerdEndpoint is the unix socket of the containerd that runs containers; empty: the node runs Wasm alone.
	ContainerdEndpoint string
	// WasmRegistry is the registry whose images are all Wasm modules; of others the runtimes are asked.
	WasmRegistry string
	// RuntimeMetrics is the unix socket on which the runtime serves its metrics; empty where it serves none.
	RuntimeMetrics string
	// SteerSocket is where the runtime says which of its sockets are to get the connections for which pods' addresses, where
	// the eBPF data path is pinned; empty: each pod has sockets of its own.
	SteerSocket string
	// RootDir is the worker's directory: specs, volumes and logs of pods, the service table.
	RootDir string
	// HostPaths are the directories of the machine below which hostPath volumes may lie; none: pods have no hostPath.
	HostPaths []string
	// Proxy says which data path serves Services; the one in user space.
	Proxy ProxyConfig
	// PodCIDR is where pods get their addresses from; 127.42.0.0/16.
	PodCIDR string
	// ServiceCIDRs are the addresses of services; 127.43.0.0/16.
	ServiceCIDRs []netip.Prefix
	// ClusterDomain is where the cluster's names are; cluster.local.
	ClusterDomain string
	// ResolvConf names the DNS servers for all other names, and what pods get that do not use the cluster's;
	// /etc/resolv.conf.
	ResolvConf string
	// ClusterCIDRs are where all nodes' pod CIDRs are of, as far as is known: what goes there is never masqueraded, and what
	// no node has of it is unreachable. They, and the three fields below, count only where NodeIPs are not loopback.
	ClusterCIDRs []netip.Prefix
	// NetworkBackend is how other nodes' pods are reached: auto, direct or vxlan; auto.
	NetworkBackend string
	// PodMTU is that of containers' interfaces; 0: derived.
	PodMTU int
	// NoMasquerade has packets of pods leave for the world under the pods' own addresses.
	NoMasquerade bool
	// CgroupRoot is the control group below which pods of containers have theirs; /kubepods/NAME, by the node's name:
	// several nodes of a lab are on one machine.
	CgroupRoot string
	// CNISocket is where containers of other runtimes are attached to the pod network by petrel-cni; empty: nowhere.
	CNISocket string
	// GatewayListen is where app URLs are served; 127.0.0.1:8081.
	GatewayListen string
	// NodeTLS serves the node's own server over TLS, to whom a certificate of the cluster says that he may ask; nil:
	// plain HTTP, on loopback alone. It has to ask for client certificates and to verify those that are given.
	NodeTLS *tls.Config
	// NodeListen is where the node's own HTTP server is; 127.0.0.1:0, or with NodeTLS port 10250 of the first address
	// that is not loopback.
	NodeListen string
	Logger     *slog.Logger
	// StaticPods is the directory of static pods; empty: the node has none.
	StaticPods string
	// Housekeeping says when the node frees memory and disk.
	Housekeeping Housekeeping

	// containerdPatience is how long a pod of which it is not known what runs it waits for a containerd that is away.
	containerdPatience time.Duration
	// runtimeGrace is how long the runtime may be away before the node is said to be not ready.
	runtimeGrace time.Duration
	// storageInterval is how often what pods with limits of storage take is measured.
	storageInterval time.Duration
	// netns is the network namespace that the pod network works in; the process's own when empty.
	netns string
}

func (c *Config) setDefaults() {
	host, _ := os.Hostname()
	c.NodeName = cmp.Or(c.NodeName, strings.ToLower(host))
	if len(c.NodeIPs) == 0 {
		c.NodeIPs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	c.MaxPods = cmp.Or(c.MaxPods, defaultMaxPods)
	c.Version = cmp.Or(c.Version, "v1.37.2-petrel")
	c.PodCIDR = cmp.Or(c.PodCIDR, "127.42.0.0/16")
	if len(c.ServiceCIDRs) == 0 && !c.NodeIPs[0].IsLoopback() {
		c.ServiceCIDRs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 43, 0, 0}), 16)}
	}
	if len(c.ServiceCIDRs) == 0 {
		c.ServiceCIDRs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 43, 0, 0}), 16)}
	}
	c.Proxy.Mode = cmp.Or(c.Proxy.Mode, service.Userspace)
	c.CgroupRoot = cmp.Or(c.CgroupRoot, "/kubepods/"+c.NodeName)
	c.GatewayListen = cmp.Or(c.GatewayListen, "127.0.0.1:8081")
	if c.NodeTLS != nil && !c.NodeIPs[0].IsLoopback() {
		c.NodeListen = cmp.Or(c.NodeListen, net.JoinHostPort(c.NodeIPs[0].String(), nodePort))
	}
	c.NodeListen = cmp.Or(c.NodeListen, "127.0.0.1:0")
	c.Housekeeping.setDefaults()
	c.storageInterval = cmp.Or(c.storageInterval, defaultStorageInterval)
	c.containerdPatience = cmp.Or(c.containerdPatience, defaultContainerdPatience)
	c.runtimeGrace = cmp.Or(c.runtimeGrace, defaultRuntimeGrace)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if c.Client == nil {
		return errors.New("worker needs a client")
	}
	if c.StaticPods != "" && !filepath.IsAbs(c.StaticPods) {
		return fmt.Errorf("directory of static pods %q: want an absolute path", c.StaticPods)
	}
	if err := c.Housekeeping.Validate(); err != nil {
		return err
	}
	if !filepath.IsAbs(c.RootDir) {
		return fmt.Errorf("root directory %q: want an absolute path", c.RootDir)
	}
	for _, ip := range c.NodeIPs {
		if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
			return fmt.Errorf("node address %q: want an address by which others reach this machine", ip)
		}
	}
	for _, listen := range []string{c.GatewayListen, c.NodeListen} {
		if _, _, err := net.SplitHostPort(listen); err != nil {
			return fmt.Errorf("listen address: %w", err)
		}
	}
	if host, _, _ := net.SplitHostPort(c.NodeListen); c.NodeTLS == nil && !loopback(host) {
		return fmt.Errorf("listen address of the node's server %q: without TLS only a loopback address is allowed: anybody who could reach it could read logs", c.NodeListen)
	}
	return nil
}
