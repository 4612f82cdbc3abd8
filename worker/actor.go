package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/probe"
	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/staticpods"
	"github.com/petrelrun/petrel/worker/stats"
	"github.com/petrelrun/petrel/worker/volume"
)

// actor runs one pod. What others tell it is guarded by mu; everything else belongs to its loop, of which one at most
// runs, and only while there is something to do.
type actor struct {
	m   *manager
	uid types.UID
	// static says that the pod is from a file: the API has a mirror of it at most.
	static bool

	mu      sync.Mutex
	pod     *corev1.Pod // the newest that was told
	fromAPI bool        // it came from the API, not from disk
	gone    bool        // the API has it no longer
	dirty   bool        // the runtime's view of it may have changed
	told    bool        // the API has the status of its end
	probed  []probed    // results that wait
	hooked  []hooked    // start hooks that are over
	listing *found      // what a listing held of it, in place of asking
	ending  []string    // instances and sandboxes that are being stopped
	ailing  string      // the instance whose guest is said to fail
	evicted string      // why the node has it end; empty: it does not
	// evictedGrace is what it has to end; negative: what it asks for.
	evictedGrace time.Duration
	renew        bool   // what volumes are made from may have changed
	announced    uint64 // hash of the instance whose start was announced
	pending      bool   // there is something to do
	running      bool   // the loop runs
	finished     bool   // the actor is over
	abandon      func() // ends a slow step, whose reason may be gone
	timer        *time.Timer
	shown        shown // for readers

	view      pod.View
	host      volume.Host
	resize    *resizing // nil for a pod that is not being resized
	mounted   *mounted  // nil without volumes whose content comes from the API
	watches   map[string]*watching
	hooks     map[string]hooking // start hooks under way, by container; nil when there never was one
	accepted  time.Time
	looked    bool // the runtime was asked
	counted   bool // its start latency was observed
	retry     time.Duration
	final     *corev1.PodStatus
	sent      *corev1.PodStatus
	sentAt    time.Time
	left      bool              // leaving the API was asked for
	notes     map[string]string // annotations to tell with the status
	sentNotes map[string]string
	kept      string          // resource version that was written down
	guest     *guestWatch     // nil for a pod whose guest never failed
	early     map[string]bool // containers whose image came when it was decided what runs them
	kinds     *kinds          // nil before it is decided what runs the pod
	missed    time.Time       // when containerd was first found away while that was decided
	// portProblem is what was told last of a host port that is not served.
	portProblem string
}

// probed is a probe's result for an instance.
type probed struct {
	container, instance string
	probe.Report
}

// watching is the probing of a container's instance.
type watching struct {
	instance string
	watch    *probe.Watch // nil for a container without probes
	// adopted says that it ran before this worker did and that no probe has judged it since.
	adopted bool
}

// shown is what readers may see of an actor.
type shown struct {
	pod       *corev1.Pod
	phase     corev1.PodPhase
	ready     bool
	ip        string
	instances []shownInstance // the newest of each container first
	sandboxes []shownSandbox
	claims    []stats.Volume
}

type shownInstance struct {
	container, id string
	attempt       int32
	state         pod.State
	started       time.Time
}

type shownSandbox struct {
	id    string
	ready bool
}

func newActor(m *manager, object *corev1.Pod, fromAPI bool) *actor {
	a := &actor{m: m, uid: object.UID, static: staticpods.IsStatic(object), pod: object, fromAPI: fromAPI, dirty: true, accepted: time.Now(), watches: map[string]*watching{}}
	a.view = pod.View{
		Pod: object, Memory: map[string]*pod.Memory{}, HostIP: m.cfg.NodeIPs[0].String(), RuntimeName: runtimes.Wasm,
		Observed: pod.Observed{Containers: map[string][]pod.Instance{}},
	}
	a.shown = shown{pod: object, phase: object.Status.Phase}
	return a
}

// update tells the actor of a newer version of its pod.
func (a *actor) update(object *corev1.Pod) {
	a.tell(func() {
		sooner := object.DeletionTimestamp != nil && (a.pod.DeletionTimestamp == nil || object.DeletionTimestamp.Before(a.pod.DeletionTimestamp))
		a.pod, a.fromAPI = object, true
		if sooner && a.abandon != nil {
			a.abandon()
		}
	})
}

// vanish tells the actor that the API has its pod no longer.
func (a *actor) vanish() {
	a.tell(func() {
		a.gone = true
		if a.abandon != nil {
			a.abandon()
		}
	})
}

// suspect has the actor ask the runtime again.
func (a *actor) suspect() { a.tell(func() { a.dirty = true }) }

func (a *actor) onTold() { a.tell(func() { a.told = true }) }

func (a *actor) onProbe(container, instance string, r probe.Report) {
	if r.Err == nil && !r.Changed {
		return // all is as it was
	}
	a.tell(func() { a.probed = append(a.probed, probed{container, instance, r}) })
}

// tell changes what the actor was told and wakes it.
func (a *actor) tell(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	a.wakeLocked()
}

func (a *actor) wake() { a.tell(func() {}) }

func (a *actor) wakeLocked() {
	if a.finished {
		return
	}
	a.pending = true
	if !a.running && a.m.begin() {
		a.running = true
		go a.loop()
	}
}

// loop turns as long as there is something to do.
func (a *actor) loop() {
	defer a.m.loops.Done()
	for {
		a.mu.Lock()
		if !a.pending || a.finished || a.m.ctx.Err() != nil {
			a.running = false
			a.mu.Unlock()
			return
		}
		a.pending = false
		ctx, cancel := context.WithCancel(a.m.ctx)
		a.abandon = cancel
		if a.timer != nil {
			a.timer.Stop()
		}
		in := inbox{pod: a.pod, fromAPI: a.fromAPI, gone: a.gone, dirty: a.dirty, told: a.told, probed: a.probed, hooked: a.hooked, listing: a.listing, ailing: a.ailing, renew: a.renew, evicted: a.evicted, evictedGrace: a.evictedGrace}
		a.dirty, a.probed, a.hooked, a.listing, a.ailing, a.renew = false, nil, nil, nil, "", false
		a.mu.Unlock()

		wake := a.turn(ctx, in)
		cancel()
		a.m.trim.note()

		a.mu.Lock()
		a.abandon = nil
		if !wake.IsZero() && !a.finished && a.m.ctx.Err() == nil {
			a.setTimer(time.Until(wake))
		}
		a.mu.Unlock()
	}
}

// setTimer is called with mu held.
func (a *actor) setTimer(d time.Duration) {
	if a.timer == nil {
		a.timer = time.AfterFunc(max(0, d), a.wake)
		return
	}
	a.timer.Reset(max(0, d))
}

// interrupted reports whether the actor was told something since the turn began.
func (a *actor) interrupted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pending
}

// halt ends timers and probes when the worker ends; the pod's containers go on.
func (a *actor) halt() {
	a.mu.Lock()
	a.finished = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.mu.Unlock()
	a.stopWatches()
}

// seen reports whether the API was seen to have the pod.
func (a *actor) seen() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fromAPI
}

// instance is the newest instance of a container, for readers.
func (a *actor) instance(container string) (shownInstance, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown.newest(container)
}

func (s *shown) newest(container string) (shownInstance, bool) {
	for _, i := range s.instances {
		if i.container == container {
			return i, true
		}
	}
	return shownInstance{}, false
}

func (a *actor) snapshot() shown {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown
}

// show publishes the loop's view to readers.
func (a *actor) show(status *corev1.PodStatus) {
	var instances []shownInstance
	for name, all := range a.view.Containers {
		for _, i := range all {
			instances = append(instances, shownInstance{name, i.ID, i.Attempt, i.State, i.Started})
		}
	}
	var sandboxes []shownSandbox
	for _, s := range a.view.Sandboxes {
		sandboxes = append(sandboxes, shownSandbox{s.ID, s.Ready})
	}
	claims := a.claimsShown()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = nil
	a.shown = shown{pod: a.view.Pod, phase: status.Phase, ready: pod.Ready(status), ip: status.PodIP, instances: instances, sandboxes: sandboxes, claims: claims}
}

// knowsEnd reports whether it is no news to the actor that the instance or the sandbox has ended: it has seen it, or is
// just bringing it about.
func (a *actor) knowsEnd(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown.ended(id) || slices.Contains(a.ending, id)
}

// knowsRemoval is the same for what the runtime has removed: something that the actor does not know is no loss.
func (a *actor) knowsRemoval(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown.ended(id) || !a.shown.has(id) || slices.Contains(a.ending, id)
}

// ended reports whether the instance or the sandbox is known to have ended.
func (s *shown) ended(id string) bool {
	for _, i := range s.instances {
		if i.id == id {
			return i.state == pod.Exited
		}
	}
	for _, b := range s.sandboxes {
		if b.id == id {
			return !b.ready
		}
	}
	return false
}

// has reports whether the instance or the sandbox is known.
func (s *shown) has(id string) bool {
	return slices.ContainsFunc(s.instances, func(i shownInstance) bool { return i.id == id }) ||
		slices.ContainsFunc(s.sandboxes, func(b shownSandbox) bool { return b.id == id })
}

// expectEnd notes that the instance or the sandbox is being stopped, so that its end is no news until what came of it
// is shown.
func (a *actor) expectEnd(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = append(a.ending, id)
}
