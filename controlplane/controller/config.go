package controller

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/petrelrun/petrel/controlplane/api"
)

// Config holds what the controllers need. Durations that are zero take the named defaults.
type Config struct {
	Client    Client
	Informers Informers
	Recorder  record.EventRecorder
	Logger    *slog.Logger

	// Clock tells the time that decisions are made by; the real one when nil.
	Clock clock.PassiveClock
	// Scheme knows every kind that Informers serves, to make an empty object for a fresh read. Kubernetes' own kinds
	// and Petrel's when nil.
	Scheme *runtime.Scheme

	// NodeGracePeriod is how long a node's lease may go unrenewed before the node counts as unreachable.
	NodeGracePeriod time.Duration
	// EvictionTolerance is how long a pod that names no toleration of its own stays bound to a node that is not
	// ready or unreachable.
	EvictionTolerance time.Duration
	// TerminatedPodThreshold is how many finished pods are kept in the whole cluster.
	TerminatedPodThreshold int

	// ClusterCIDRs are what nodes' pod CIDRs are taken from, one of each for every node, at most one of a family. None:
	// nodes get no pod CIDRs.
	ClusterCIDRs []netip.Prefix
	// NodeCIDRMaskSizeIPv4 and NodeCIDRMaskSizeIPv6 are how large a node's share is.
	NodeCIDRMaskSizeIPv4 int
	NodeCIDRMaskSizeIPv6 int
}

// Defaults of Config.
const (
	// DefaultNodeGracePeriod is four of a worker's ten-second renewals: one lost packet or a slow disk is no outage.
	DefaultNodeGracePeriod = 40 * time.Second
	// DefaultEvictionTolerance is what Kubernetes adds to each pod: a node that reboots keeps its pods.
	DefaultEvictionTolerance = 300 * time.Second
	// DefaultTerminatedPodThreshold bounds what finished Jobs leave behind in memory and in etcd: at 4 KiB a pod
	// about 20 MB.
	DefaultTerminatedPodThreshold = 5_000
	// DefaultNodeCIDRMaskSizeIPv4 gives a node 254 addresses of pods, and a cluster of 10.42.0.0/16 256 nodes.
	DefaultNodeCIDRMaskSizeIPv4 = 24
	// DefaultNodeCIDRMaskSizeIPv6 is one subnet a node.
	DefaultNodeCIDRMaskSizeIPv6 = 64
)

// Validate tells what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil:
		return errors.New("check controller config: no client")
	case c.Informers == nil:
		return errors.New("check controller config: no informers")
	case c.Recorder == nil:
		return errors.New("check controller config: no event recorder")
	case c.NodeGracePeriod < 0 || c.EvictionTolerance < 0 || c.TerminatedPodThreshold < 0:
		return errors.New("check controller config: negative limit")
	}
	if err := checkClusterCIDRs(c.ClusterCIDRs, cmp.Or(c.NodeCIDRMaskSizeIPv4, DefaultNodeCIDRMaskSizeIPv4),
		cmp.Or(c.NodeCIDRMaskSizeIPv6, DefaultNodeCIDRMaskSizeIPv6)); err != nil {
		return fmt.Errorf("check controller config: %w", err)
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	c.Client = waitingClient{Client: c.Client, clock: c.Clock}
	if c.NodeGracePeriod == 0 {
		c.NodeGracePeriod = DefaultNodeGracePeriod
	}
	if c.EvictionTolerance == 0 {
		c.EvictionTolerance = DefaultEvictionTolerance
	}
	if c.TerminatedPodThreshold == 0 {
		c.TerminatedPodThreshold = DefaultTerminatedPodThreshold
	}
	c.NodeCIDRMaskSizeIPv4 = cmp.Or(c.NodeCIDRMaskSizeIPv4, DefaultNodeCIDRMaskSizeIPv4)
	c.NodeCIDRMaskSizeIPv6 = cmp.Or(c.NodeCIDRMaskSizeIPv6, DefaultNodeCIDRMaskSizeIPv6)
	if c.Scheme != nil {
		return c, nil
	}
	c.Scheme = runtime.NewScheme()
	if err := scheme.AddToScheme(c.Scheme); err != nil {
		return c, err
	}
	return c, api.AddToScheme(c.Scheme)
}
