package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service/feed"
)

const (
	// gatherTime is how long changes are waited for after the first, so that a rollout is compiled a few times and not
	// once for each pod.
	gatherTime = 20 * time.Millisecond
	// A policy that the kernel did not take is tried again after retryBase, doubling to retryMax.
	retryBase = 100 * time.Millisecond
	retryMax  = 10 * time.Second
)

// Enforcer is what rules are given to: an *ebpfproxy.Enforcer.
type Enforcer interface {
	Sync(ctx context.Context, policy ebpfproxy.Policy) error
}

// Config of an Agent.
type Config struct {
	Compiler CompilerConfig
	Client   kubernetes.Interface
	Enforcer Enforcer
	// StateFile is where the agent keeps which namespaces have policies, for a start without the API. Empty: nowhere.
	StateFile string
	Logger    *slog.Logger // nil: slog.Default()
}

// Validate says what of the configuration makes no sense.
func (c Config) Validate() error {
	errs := []error{c.Compiler.Validate()}
	if c.Client == nil {
		errs = append(errs, errors.New("client: missing"))
	}
	if c.Enforcer == nil {
		errs = append(errs, errors.New("enforcer: missing"))
	}
	return errors.Join(errs...)
}

// Agent follows the API and keeps the enforcer's rules current. Its methods are safe for concurrent use.
type Agent struct {
	cfg Config

	pods       *feed.Feed[*corev1.Pod]
	namespaces *feed.Feed[*corev1.Namespace]
	policies   *feed.Feed[*networkingv1.NetworkPolicy]

	kick   chan struct{} // something changed
	urgent chan struct{} // a pod waits for it

	mu       sync.Mutex
	compiler *Compiler
	changed  uint64        // counts changes
	enforced uint64        // the changes that the enforcer knows
	told     chan struct{} // closed and made anew when those who wait are to look again

	metrics *metrics

	idle     bool            // the enforcer's rules are none, and so were those compiled last
	restored map[string]bool // the namespaces that had policies, as the last process kept them; nil: not known
	kept     []string        // what is in the state file

	names atomic.Pointer[podNames]
}

// New makes an Agent; it does nothing before Run.
func New(cfg Config) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("new policy agent: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	compiler, err := NewCompiler(cfg.Compiler)
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, compiler: compiler, kick: make(chan struct{}, 1), urgent: make(chan struct{}, 1), told: make(chan struct{}), changed: 1, metrics: newMetrics()}
	a.pods = feed.New(cfg.Client, cfg.Client.CoreV1().Pods(""), &corev1.Pod{}, "", feed.Handler[*corev1.Pod]{
		Set:    func(p *corev1.Pod) { a.change(func(c *Compiler) bool { return c.SetPod(p) }) },
		Gone:   func(k feed.Key) { a.change(func(c *Compiler) bool { c.RemovePod(k.NamespacedName); return true }) },
		Synced: a.nudge,
	})
	a.namespaces = feed.New(cfg.Client, cfg.Client.CoreV1().Namespaces(), &corev1.Namespace{}, "", feed.Handler[*corev1.Namespace]{
		Set:    func(ns *corev1.Namespace) { a.change(func(c *Compiler) bool { return c.SetNamespace(ns) }) },
		Gone:   func(k feed.Key) { a.change(func(c *Compiler) bool { c.RemoveNamespace(k.Name); return true }) },
		Synced: a.nudge,
	})
	a.policies = feed.New(cfg.Client, cfg.Client.NetworkingV1().NetworkPolicies(""), &networkingv1.NetworkPolicy{}, "", feed.Handler[*networkingv1.NetworkPolicy]{
		Set:    a.setPolicy,
		Gone:   func(k feed.Key) { a.change(func(c *Compiler) bool { c.RemovePolicy(k.NamespacedName); return true }) },
		Synced: a.nudge,
	})
	return a, nil
}

// setPolicy keeps the last version of a policy that could be read: a newer one that cannot is no reason to open a pod.
func (a *Agent) setPolicy(p *networkingv1.NetworkPolicy) {
	a.change(func(c *Compiler) bool {
		if err := c.SetPolicy(p); err != nil {
			a.cfg.Logger.Error("policy cannot be enforced, its last version stays", "err", err)
			return false
		}
		return true
	})
}

func (a *Agent) change(apply func(*Compiler) bool) {
	a.mu.Lock()
	changed := apply(a.compiler)
	if changed {
		a.changed++
	}
	a.mu.Unlock()
	if changed {
		a.nudge()
	}
}

func (a *Agent) nudge() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Run follows the API until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	a.restore()
	var running sync.WaitGroup
	for _, follow := range []func(context.Context){a.pods.Run, a.namespaces.Run, a.policies.Run} {
		running.Go(func() { follow(ctx) })
	}
	running.Go(func() { a.enforce(ctx) })
	running.Wait()
	return ctx.Err()
}

func (a *Agent) known() bool { return a.pods.Synced() && a.namespaces.Synced() && a.policies.Synced() }

// enforce compiles after each change, when everything is known.
func (a *Agent) enforce(ctx context.Context) {
	wait := retryBase
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.kick:
		}
		if !a.gather(ctx) {
			return
		}
		if !a.known() {
			continue // the last of them nudges
		}
		began := time.Now()
		err := a.compileAndSync(ctx)
		a.metrics.synced(time.Since(began), err)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			a.cfg.Logger.Error("policies are not enforced as they should be", "err", err, "retry", wait)
			a.nudge()
			if !sleep(ctx, wait) {
				return
			}
			wait = min(2*wait, retryMax)
			continue
		}
		wait = retryBase
	}
}

func (a *Agent) compileAndSync(ctx context.Context) error {
	a.mu.Lock()
	changed := a.changed
	a.wake() // everything is known now
	if a.idle && !a.compiler.hasPolicies() {
		a.settle(changed)
		a.mu.Unlock()
		return a.keep()
	}
	policy := a.compiler.Compile()
	a.idle = false // until the enforcer has taken none of it, or all
	a.mu.Unlock()
	if err := a.cfg.Enforcer.Sync(ctx, policy); err != nil {
		return err
	}
	a.mu.Lock()
	a.idle = len(policy.Endpoints) == 0
	a.settle(changed)
	a.mu.Unlock()
	return a.keep()
}

// settle says that everything up to a change is enforced. Its caller holds mu.
func (a *Agent) settle(changed uint64) {
	a.enforced = changed
	a.wake()
}

// wake has all that wait in Assign look again. Its caller holds mu.
func (a *Agent) wake() {
	close(a.told)
	a.told = make(chan struct{})
}

// Assign says which addresses a local pod is about to have, and answers when the policies for it are enforced: no
// packet of the pod is ahead of its policy. For a pod that no policy selects that is at once. Until the API has been read
// it is at once for pods of namespaces that had no policy when the last process ended, and the others wait.
func (a *Agent) Assign(ctx context.Context, pod *corev1.Pod, addrs []netip.Addr) error {
	name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	var changed uint64
	a.change(func(c *Compiler) bool {
		c.Assign(name, addrs)
		c.SetPod(pod)
		changed = a.changed + 1
		return true
	})
	for {
		a.mu.Lock()
		done, told := a.enforced >= changed || a.isFree(pod), a.told
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case a.urgent <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("enforce policies for pod %s: %w", name, ctx.Err())
		case <-told:
		}
	}
}

// isFree: as far as is known, no policy selects the pod. Its caller holds mu.
func (a *Agent) isFree(pod *corev1.Pod) bool {
	if a.known() {
		return !a.compiler.selects(pod)
	}
	return a.restored != nil && !a.restored[pod.Namespace]
}

// SetHosts replaces the addresses of this node.
func (a *Agent) SetHosts(hosts []netip.Prefix) error {
	var err error
	a.change(func(c *Compiler) (changed bool) {
		changed, err = c.SetHosts(hosts)
		return changed
	})
	return err
}

// Release forgets what was assigned to a pod, as its addresses are about to be another's.
func (a *Agent) Release(pod types.NamespacedName) {
	a.change(func(c *Compiler) bool { c.RemovePod(pod); return true })
}

// gather waits for more changes, unless a pod waits for those that are there; those that come while it is compiled
// for are gathered anyway. It answers false when ctx ended first.
func (a *Agent) gather(ctx context.Context) bool {
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-a.urgent:
	case <-timer.C:
	}
	return true
}

// sleep answers false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
