package worker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/runtimes"
)

const sandboxReady = runtimev1.PodSandboxState_SANDBOX_READY

// lister is a runtime, or all of them, as far as it is listed.
type lister interface {
	ListPodSandbox(ctx context.Context, filter *runtimev1.PodSandboxFilter) ([]*runtimev1.PodSandbox, error)
	ListContainers(ctx context.Context, filter *runtimev1.ContainerFilter) ([]*runtimev1.Container, error)
}

// list asks a runtime for everything it holds, by pod. What carries no pod's label is not the worker's.
func list(ctx context.Context, rt lister) (map[types.UID]found, error) {
	out := map[types.UID]found{}
	sandboxes, err := rt.ListPodSandbox(ctx, nil)
	if err != nil {
		return nil, err
	}
	containers, err := rt.ListContainers(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, s := range sandboxes {
		if uid := types.UID(s.GetLabels()[labelPodUID]); uid != "" {
			f := out[uid]
			f.sandboxes = append(f.sandboxes, s)
			out[uid] = f
		}
	}
	for _, c := range containers {
		if uid := types.UID(c.GetLabels()[labelPodUID]); uid != "" {
			f := out[uid]
			f.containers = append(f.containers, c)
			out[uid] = f
		}
	}
	return out, nil
}

// adopt takes over, at the worker's start, what runs and what was written down. Nothing is stopped here: a pod that
// only the runtime knows may be one that the API will tell of. A containerd that is away makes its own pods wait.
func (m *manager) adopt(ctx context.Context) error {
	all := map[types.UID]found{}
	away := map[string]bool{}
	for i, member := range m.members {
		some, err := list(ctx, member)
		if err != nil && i == 0 {
			return fmt.Errorf("list what runs: %w", err)
		}
		if err != nil {
			m.log.Info("pods of a runtime that is away wait for it", "runtime", member.Name, "error", err)
			away[member.Name] = true
			continue
		}
		m.claim(ctx, some)
		for uid, f := range some {
			all[uid] = all[uid].and(f)
		}
	}
	kept, err := m.paths.kept()
	if err != nil {
		m.log.Error("some pods were not read back", "error", err)
	}
	for _, object := range kept {
		m.adoptPod(object, all[object.UID], away)
	}
	m.hostPorts.server.KeepHostPorts(func(uid types.UID) bool { return m.actor(uid) != nil })
	m.log.Info("took over what was running", "pods", len(kept), "sandboxes", len(all))
	return nil
}

// and is what two runtimes hold of one pod.
func (f found) and(other found) found {
	return found{append(slices.Clone(f.sandboxes), other.sandboxes...), append(slices.Clone(f.containers), other.containers...)}
}

// claim takes note of what a runtime held when the worker met it.
func (m *manager) claim(ctx context.Context, all map[types.UID]found) {
	for uid, f := range all {
		for _, s := range f.sandboxes {
			m.reserve(ctx, uid, s) // one that is not ready too: its pod may go on in another
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range all {
		m.unclaimed[uid] = true
	}
}

func (m *manager) adoptPod(object *corev1.Pod, f found, away map[string]bool) {
	m.mu.Lock()
	a := m.actors[object.UID]
	if a == nil {
		a = newActor(m, object, false)
		a.recallResize()
		a.kept, a.kinds = object.ResourceVersion, m.recallKinds(object, f)
		if !a.kinds.anyOf(away) { // else it is asked for when that is back
			a.listing = &f
		}
		m.actors[object.UID] = a
		m.hostPorts.adopt(object)
		name := types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
		if other := m.actors[m.names[name]]; other == nil || other.pod.CreationTimestamp.Before(&object.CreationTimestamp) {
			m.names[name] = object.UID
		}
	}
	m.mu.Unlock()
	a.wake()
}

// dismissUnseen lets go of the pods that were on disk and that the API, whole now, does not have.
func (m *manager) dismissUnseen() {
	for _, a := range m.all() {
		if !a.seen() && !a.static {
			a.vanish()
		}
	}
	m.sweep()
}

// reserve keeps a sandbox's addresses from being given to another.
func (m *manager) reserve(ctx context.Context, uid types.UID, s *runtimev1.PodSandbox) {
	ips := addressesTold(s)
	if len(ips) == 0 {
		if status, err := m.rt.PodSandboxStatus(ctx, s.GetId()); err == nil {
			ips = addressesOf(status)
		}
	}
	var addrs []netip.Addr
	for _, ip := range ips {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			m.log.Warn("address of a running pod is none", "pod", s.GetMetadata().GetName(), "address", ip, "error", err)
		} else if !slices.Contains(m.cfg.NodeIPs, addr) { // else of a pod on the machine's own network
			addrs = append(addrs, addr)
		}
	}
	for _, addr := range addrs {
		if err := m.pool.Reserve(string(uid), addr); err != nil {
			m.log.Warn("address of a running pod was not reserved", "pod", s.GetMetadata().GetName(), "address", addr, "error", err)
		}
	}
}

// watchRuntimes follows the runtimes' events until ctx ends, and compares everything now and then. synced reports
// whether the API's pods are known whole, before which nothing is an orphan. changed is called when a runtime comes or
// goes.
func (m *manager) watchRuntimes(ctx context.Context, synced func() bool, changed func()) {
	var parts sync.WaitGroup
	for _, member := range m.members {
		w := &runtimeWatch{m: m, rt: member, synced: synced, changed: changed, due: make(chan time.Duration, 1)}
		parts.Go(func() { w.stream(ctx) })
		parts.Go(func() { w.compare(ctx) })
	}
	parts.Wait()
}

// runtimeWatch follows one runtime.
type runtimeWatch struct {
	m       *manager
	rt      *runtimes.Member
	synced  func() bool
	changed func()
	due     chan time.Duration // asks for a comparison after so long

	mu    sync.Mutex
	blind bool // the runtime has no events
}

func (w *runtimeWatch) stream(ctx context.Context) {
	for ctx.Err() == nil {
		if w.rt.Name == runtimes.Wasm {
			if err := tellPodCIDR(ctx, w.m.rt, w.m.pool); err != nil && ctx.Err() == nil {
				w.m.log.Debug("runtime was not told the pod addresses", "error", err) // a new runtime has to be told again
			}
		}
		err := w.rt.Events(ctx, func() { w.ask(0); w.changed() }, w.event)
		if ctx.Err() != nil {
			return
		}
		w.setBlind(cri.IsUnimplemented(err))
		w.changed()
		if !cri.IsUnimplemented(err) {
			w.m.log.Debug("event stream of the runtime ended", "runtime", w.rt.Name, "error", err)
		}
		w.ask(0)
		select {
		case <-ctx.Done():
		case <-time.After(w.pause()):
		}
	}
}

func (w *runtimeWatch) setBlind(blind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind = blind
}

func (w *runtimeWatch) isBlind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blind
}

func (w *runtimeWatch) pause() time.Duration {
	if w.isBlind() {
		return relistInterval
	}
	return eventsRetry
}

func (w *runtimeWatch) ask(after time.Duration) {
	select {
	case w.due <- after:
	default:
	}
}

// event wakes the pod's actor for what it did not do itself: its own creations and starts it knows of.
func (w *runtimeWatch) event(e *runtimev1.ContainerEventResponse) {
	uid := e.GetPodSandboxStatus().GetLabels()[labelPodUID]
	if uid == "" {
		uid = e.GetPodSandboxStatus().GetMetadata().GetUid()
	}
	if uid == "" { // a runtime that does not say whose it is
		w.ask(0)
		return
	}
	a := w.m.actor(types.UID(uid))
	if a == nil {
		return
	}
	switch e.GetContainerEventType() {
	case runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT:
		if e.GetContainerId() != e.GetPodSandboxStatus().GetId() {
			a.onStarted(e)
		}
	case runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT:
		if !a.knowsEnd(e.GetContainerId()) {
			a.suspect()
		}
	case runtimev1.ContainerEventType_CONTAINER_DELETED_EVENT:
		if !a.knowsRemoval(e.GetContainerId()) {
			a.suspect()
		}
	}
}

// compare lists everything each relistInterval, and when asked.
func (w *runtimeWatch) compare(ctx context.Context) {
	timer := time.NewTimer(relistInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case after := <-w.due:
			if after > 0 {
				timer.Reset(after)
				continue
			}
			w.once(ctx)
			timer.Reset(relistSettle)
			continue
		case <-timer.C:
			w.once(ctx)
		}
		next := relistInterval
		if w.isBlind() {
			next = relistBlind
		}
		timer.Reset(next)
	}
}

func (w *runtimeWatch) once(ctx context.Context) {
	synced := w.synced() // before the listing: what is synced later may own what is listed now
	all, err := list(ctx, w.rt)
	if err != nil {
		if ctx.Err() == nil {
			w.m.log.Debug("runtime was not listed", "runtime", w.rt.Name, "error", err)
		}
		return
	}
	orphans := w.m.compare(w.rt, all)
	if !synced {
		return
	}
	for uid, f := range orphans {
		if w.m.actor(uid) == nil {
			w.m.tearDown(ctx, uid, f)
		}
	}
	if w.rt.Name == runtimes.Containerd {
		w.m.removeOrphanGroups(all)
	}
}

// tearDown removes what the runtime holds of a pod that is no more.
func (m *manager) tearDown(ctx context.Context, uid types.UID, f found) {
	for _, s := range f.sandboxes {
		m.log.Info("removing what no pod accounts for", "pod", s.GetMetadata().GetName(), "namespace", s.GetMetadata().GetNamespace(), "uid", uid)
		if err := m.rt.StopPodSandbox(ctx, s.GetId()); err == nil {
			err = m.rt.RemovePodSandbox(ctx, s.GetId())
			if err == nil {
				continue
			}
		}
		return // the next comparison finds it again
	}
	for _, c := range f.containers {
		_ = m.rt.RemoveContainer(ctx, c.GetId()) // of a sandbox that is gone; found again if this fails
	}
	m.pool.Free(string(uid))
}
