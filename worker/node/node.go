package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	// checkInterval is how often the node's health is looked at; a change is sent at once.
	checkInterval = 5 * time.Second
	// reportInterval is how often the status is sent though nothing changed: the Lease is the heartbeat.
	reportInterval = 5 * time.Minute
	// callTimeout bounds a call to the API.
	callTimeout = 10 * time.Second
	// Registering is tried again after retryBase, doubling to retryMax.
	retryBase = 100 * time.Millisecond
	retryMax  = 5 * time.Second
)

// Labels that every node carries.
const (
	LabelRuntime = "petrel.run/runtime"
	runtimeWasm  = "wasm"
)

// Config says what the node is.
type Config struct {
	Client kubernetes.Interface
	Name   string
	// Addresses are those by which other nodes reach it, the first one foremost.
	Addresses []netip.Addr
	MaxPods   int
	Labels    map[string]string
	// Annotations are put on the Node beside whatever others put there.
	Annotations map[string]string
	Version     string
	// Dir is where pods' files are: the disk whose size is told.
	Dir string
	// RuntimeVersion, Port and Health are asked each time.
	RuntimeVersion func() string
	Port           func() int32
	Health         func(ctx context.Context) Health
	// Kept is what of the machine's memory and disk pods may not have, in bytes.
	Kept func(memory, disk int64) (keptMemory, keptDisk int64)
	// Pressure tells whether the machine is short of what the condition is about.
	Pressure func(corev1.NodeConditionType) bool
	// Handlers are the ways to run pods, asked each time; nil: none is told. "" is what runs pods that name none.
	Handlers func() []corev1.NodeRuntimeHandler
	// Images are those of all runtimes, asked each time; nil, as its answer too: it is not known.
	Images func(ctx context.Context) []corev1.ContainerImage
	// VolumesInUse are the attached volumes that must not be detached yet, asked each time; nil: there are none.
	VolumesInUse func() []corev1.UniqueVolumeName
	// Event tells that the node has changed, by the reason that a kubelet gives; nil: nobody is told.
	Event  func(reason string)
	Logger *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	switch {
	case c.Client == nil || c.RuntimeVersion == nil || c.Port == nil || c.Health == nil || c.Kept == nil || c.Pressure == nil || c.Logger == nil:
		return errors.New("node needs a client, a runtime version, a port, a health, what is kept, pressures and a logger")
	case c.Name == "" || c.Name != strings.ToLower(c.Name):
		return fmt.Errorf("node name %q: want a lower-case name", c.Name)
	case len(c.Addresses) == 0:
		return errors.New("node needs an address")
	case c.MaxPods <= 0:
		return fmt.Errorf("max pods %d: want a positive number", c.MaxPods)
	}
	return nil
}

// Node keeps one Node object.
type Node struct {
	cfg Config

	mu   sync.Mutex
	uid  types.UID
	last *corev1.NodeStatus
	sent time.Time
	// allocatable is what the last look at the machine found.
	allocatable corev1.ResourceList
	poke        chan struct{}
}

// New makes a node; Run registers it.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg, poke: make(chan struct{}, 1)}, nil
}

// Allocatable is what pods may have of the machine, as it was when it was last looked at: every pod that starts asks.
// The list is shared and must not be changed.
func (n *Node) Allocatable() corev1.ResourceList {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.allocatable == nil {
		m, err := inspect(n.cfg.Dir)
		if err != nil {
			return nil
		}
		_, n.allocatable = m.capacity(&n.cfg)
	}
	return n.allocatable
}

// UID is the Node's; empty while it is not registered.
func (n *Node) UID() types.UID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.uid
}

// Poke has the health looked at now.
func (n *Node) Poke() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// Run registers the node and keeps it until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	var leasing sync.WaitGroup
	defer leasing.Wait()
	leasing.Go(func() { n.keepLease(ctx) })
	delay := retryBase
	registered := false
	for {
		err := n.turn(ctx, &registered)
		wait := checkInterval
		if err != nil {
			if ctx.Err() == nil {
				n.cfg.Logger.Warn("node status was not taken by the API", "error", err)
			}
			wait = delay
			delay = min(2*delay, retryMax)
		} else {
			delay = retryBase
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.poke:
		case <-time.After(wait):
		}
	}
}

func (n *Node) turn(ctx context.Context, registered *bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !*registered {
		if err := n.register(ctx); err != nil {
			return err
		}
		*registered = true
		n.cfg.Logger.Info("node registered", "node", n.cfg.Name)
	}
	err := n.report(ctx, time.Now())
	if apierrors.IsNotFound(err) {
		*registered = false
	}
	return err
}

// register creates the Node or puts its labels on the one that is there.
func (n *Node) register(ctx context.Context) error {
	nodes := n.cfg.Client.CoreV1().Nodes()
	labels := n.labels()
	node, err := nodes.Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: labels, Annotations: n.cfg.Annotations}}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("register node: %w", err)
	}
	if !contains(node.Labels, labels) || !contains(node.Annotations, n.cfg.Annotations) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": n.cfg.Annotations}})
		if err != nil {
			return fmt.Errorf("encode labels: %w", err)
		}
		if node, err = nodes.Patch(ctx, n.cfg.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("label node: %w", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uid, n.last, n.sent = node.UID, &node.Status, time.Time{}
	return nil
}

func (n *Node) labels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname:   n.cfg.Name,
		corev1.LabelOSStable:   runtime.GOOS,
		corev1.LabelArchStable: runtime.GOARCH,
		LabelRuntime:           runtimeWasm,
	}
	maps.Copy(labels, n.cfg.Labels)
	return labels
}

func contains(all, some map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// report sends the status when it changed or when it is time to.
func (n *Node) report(ctx context.Context, now time.Time) error {
	m, err := inspect(n.cfg.Dir)
	if err != nil {
		return err
	}
	// What the API has is compared, not what was sent last: after a silence the control plane has set the conditions to
	// Unknown, which may well happen just after the first report of a node that is back.
	node, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read node: %w", err)
	}
	n.mu.Lock()
	_, n.allocatable = m.capacity(&n.cfg)
	n.last = &node.Status
	last, sent := n.last, n.sent
	n.mu.Unlock()
	next := status(&n.cfg, m, n.cfg.Health(ctx), last, now)
	n.holdings(ctx, &next, last)
	if same(&next, last) && now.Sub(sent) < reportInterval {
		return nil
	}
	patch, err := statusPatch(&next)
	if err != nil {
		return err
	}
	_, err = n.cfg.Client.CoreV1().Nodes().Patch(ctx, n.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("patch node status: %w", err)
	}
	if n.cfg.Event != nil {
		for _, reason := range changes(last, &next) {
			n.cfg.Event(reason)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last, n.sent = &next, now
	return nil
}

// holdings adds what is on the node.
func (n *Node) holdings(ctx context.Context, next, last *corev1.NodeStatus) {
	next.Images = last.Images
	if n.cfg.Images != nil {
		if known := n.cfg.Images(ctx); known != nil {
			next.Images = largest(known)
		}
	}
	if n.cfg.VolumesInUse != nil {
		next.VolumesInUse = n.cfg.VolumesInUse()
	}
}
