package worker

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/csi"
	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/probe"
	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/staticpods"
	"github.com/petrelrun/petrel/worker/stats"
	"github.com/petrelrun/petrel/worker/volume"
	"github.com/petrelrun/petrel/worker/volume/follow"
)

// manager holds the actors of all pods of the node and what they share.
type manager struct {
	cfg     *Config
	rt      Runtime
	members []*runtimes.Member // the same, each by itself
	// checkHandler finds a RuntimeClass's handler that the node does not have.
	checkHandler func(string) error
	paths        paths
	pool         *network.Network
	prober       *probe.Prober
	actions      *probe.Actions
	groups       *confine.Groups
	puller       *puller
	events       *events
	statuses     *statusWriter
	metrics      *metrics
	usage        *stats.Collector
	static       *staticKeeper
	figures      *stats.Server
	log          *slog.Logger
	ctx          context.Context // the worker's life
	// allocatable and baseEnv are asked when a container starts.
	allocatable func() corev1.ResourceList
	baseEnv     func() []env.Var
	services    func(namespace string) []service.Service
	naming      *naming
	guard       *guard
	follower    *follow.Follower // of what volumes are made from
	memory      *volume.Memory   // where their secrets lie
	drivers     *csi.Drivers
	// leave and arrive tell the node's services which addresses are about to go and to come.
	leave, arrive func(netip.Addr)
	hostPorts     *hostPorts

	grants grants
	sharer sharer
	notes  noteBook
	trim   *trimmer

	starts, files, volumes chan struct{} // places for making things, for work on disk, and for making volumes

	mu     sync.Mutex
	closed bool
	actors map[types.UID]*actor
	names  map[types.NamespacedName]types.UID
	// unclaimed is what the runtime held, when the worker started, of pods that were not on disk. Of any other pod
	// that is new to the worker the runtime holds nothing, and need not be asked.
	unclaimed map[types.UID]bool
	loops     sync.WaitGroup
}

// begin counts a loop in, unless the manager is closed.
func (m *manager) begin() bool {
	if m.ctx.Err() != nil {
		return false
	}
	m.loops.Add(1)
	return true
}

// onDisk does work on disk when it is its turn.
func (m *manager) onDisk(work func() error) error {
	m.files <- struct{}{}
	defer func() { <-m.files }()
	return work()
}

// slot waits for one of the places.
func slot(ctx context.Context, places chan struct{}) (release func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// accept takes in a pod as the API has it.
func (m *manager) accept(object *corev1.Pod) {
	if object.Spec.NodeName != m.cfg.NodeName {
		return
	}
	m.statuses.caughtUp(object)
	if staticpods.IsMirror(object) {
		m.static.see(object)
		return
	}
	m.sharer.share(object)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	a, known := m.actors[object.UID]
	if !known {
		a = newActor(m, object, true)
		if !m.unclaimed[object.UID] {
			a.listing = &found{}
		}
		m.actors[object.UID] = a
	}
	m.names[types.NamespacedName{Namespace: object.Namespace, Name: object.Name}] = object.UID
	m.mu.Unlock()
	if known {
		a.update(object)
		return
	}
	a.wake()
}

// renewed tells whether another pod has come to have the name of one that ends.
func (m *manager) renewed(name types.NamespacedName, uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest, known := m.names[name]
	return known && newest != uid
}

// dismiss is told that the API has the pod no longer.
func (m *manager) dismiss(uid types.UID) {
	if a := m.actor(uid); a != nil {
		a.vanish()
		return
	}
	m.static.lose(uid)
}

// remove forgets an actor that is over, with everything that was written of its pod.
func (m *manager) remove(a *actor) {
	object := a.view.Pod
	m.mu.Lock()
	if m.actors[a.uid] == a {
		delete(m.actors, a.uid)
	}
	name := types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
	if m.names[name] == a.uid {
		delete(m.names, name)
	}
	m.mu.Unlock()
	m.statuses.forget(a.uid)
	m.grants.forget(a.uid)
	if a.static {
		m.static.wake()
	}
	if err := m.drivers.Unpublish(m.ctx, m.paths.volumes(a.uid)); err != nil { // nothing is removed behind a driver's back
		m.log.Error("volumes of a pod were not taken back", "pod", a.name(), "error", err)
		return
	}
	if err := m.onDisk(func() error { return errors.Join(m.memory.Release(string(a.uid)), m.paths.forget(object)) }); err != nil {
		m.log.Error("files of a pod were not removed", "pod", a.name(), "error", err)
	}
}

func (m *manager) actor(uid types.UID) *actor {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.actors[uid]
}

// newest is the newest version of a pod that was told; nil for one that is not known.
func (m *manager) newest(uid types.UID) *corev1.Pod {
	a := m.actor(uid)
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pod
}

// named is the newest pod of that name.
func (m *manager) named(namespace, name string) *actor {
	m.mu.Lock()
	defer m.mu.Unlock()
	uid, ok := m.names[types.NamespacedName{Namespace: namespace, Name: name}]
	if !ok {
		return nil
	}
	return m.actors[uid]
}

func (m *manager) all() []*actor {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*actor, 0, len(m.actors))
	for _, a := range m.actors {
		out = append(out, a)
	}
	return out
}

func (m *manager) phases() map[corev1.PodPhase]int {
	out := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodRunning: 0, corev1.PodSucceeded: 0, corev1.PodFailed: 0}
	for _, a := range m.all() {
		if phase := a.snapshot().phase; phase != "" {
			out[phase]++
		}
	}
	return out
}

// close lets go of every pod without stopping it. The worker's context has ended by then.
func (m *manager) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.loops.Wait()
	m.follower.Close()
	m.trim.close()
	for _, a := range m.all() {
		a.halt()
	}
}

// compare wakes the actors whose pods a runtime holds otherwise than they believe, and returns what belongs to none.
func (m *manager) compare(rt *runtimes.Member, all map[types.UID]found) map[types.UID]found {
	orphans := map[types.UID]found{}
	for uid, f := range all {
		if m.actor(uid) == nil {
			orphans[uid] = f
		}
	}
	for _, a := range m.all() {
		if now := a.snapshot(); !now.matches(rt, all[a.uid]) {
			a.suspect()
		}
	}
	return orphans
}

// matches reports whether what is shown of a runtime is what its listing holds.
func (s *shown) matches(rt *runtimes.Member, f found) bool {
	sandboxes, instances := 0, 0
	for _, b := range s.sandboxes {
		if rt.Owns(b.id) {
			sandboxes++
		}
	}
	for _, i := range s.instances {
		if rt.Owns(i.id) {
			instances++
		}
	}
	if instances != len(f.containers) || sandboxes != len(f.sandboxes) {
		return false
	}
	for _, b := range f.sandboxes {
		if !slices.Contains(s.sandboxes, shownSandbox{b.GetId(), b.GetState() == sandboxReady}) {
			return false
		}
	}
	for _, c := range f.containers {
		state := stateOf(c.GetState())
		if !slices.ContainsFunc(s.instances, func(i shownInstance) bool { return i.id == c.GetId() && i.state == state }) {
			return false
		}
	}
	return true
}
