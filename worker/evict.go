package worker

import (
	"context"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/eviction"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/stats"
)

const (
	// evictionGrace is the least that an evicted pod has to end, and for most reasons the most: the node is running out of
	// something while it does.
	evictionGrace = time.Second
	// criticalPriority is that of pods without which a node or a cluster does not work.
	criticalPriority = 2_000_000_000
	// imageDirsFor is how long the runtimes' word is taken for where their images are.
	imageDirsFor = 10 * time.Minute
)

// evictor is the node as its eviction sees it.
type evictor struct {
	w *Worker
	m *manager

	mu        sync.Mutex
	imageDirs []string
	asked     time.Time
}

// observe looks at what the machine has left.
func (e *evictor) observe(ctx context.Context) (eviction.Observed, error) {
	machine, err := stats.Host{}.Read()
	if err != nil {
		return nil, err
	}
	disk, err := stats.ReadDisk(e.w.cfg.RootDir)
	if err != nil {
		return nil, err
	}
	out := eviction.Observed{
		eviction.MemoryAvailable: {Capacity: int64(machine.Memory.Total), Available: int64(machine.Memory.Available)},
		eviction.PIDAvailable:    {Capacity: machine.PIDs.Max, Available: machine.PIDs.Available()},
	}
	note := func(bytes, inodes eviction.Signal, d *stats.Disk) {
		lowest(out, bytes, eviction.Amount{Capacity: int64(d.Total), Available: int64(d.Available)})
		if d.Inodes > 0 { // file systems that make them as they need them have no number
			lowest(out, inodes, eviction.Amount{Capacity: int64(d.Inodes), Available: int64(d.InodesFree)})
		}
	}
	note(eviction.NodeFSAvailable, eviction.NodeFSInodes, disk)
	for _, dir := range e.dirs(ctx) {
		if images, err := stats.ReadDisk(dir); err == nil {
			note(eviction.ImageFSAvailable, eviction.ImageFSInodes, images)
		}
	}
	return out, nil
}

// lowest notes an amount, unless another disk has less.
func lowest(out eviction.Observed, s eviction.Signal, a eviction.Amount) {
	if was, ok := out[s]; ok && float64(was.Available)*float64(a.Capacity) < float64(a.Available)*float64(was.Capacity) {
		return
	}
	out[s] = a
}

// dirs are where images are: they do not move, so the runtimes are seldom asked.
func (e *evictor) dirs(ctx context.Context) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.asked) < imageDirsFor && len(e.imageDirs) > 0 {
		return e.imageDirs
	}
	var dirs []string
	for dir := range e.w.imageDirs(ctx) {
		dirs = append(dirs, dir)
	}
	if len(dirs) > 0 {
		e.imageDirs, e.asked = dirs, time.Now()
	}
	return e.imageDirs
}

// candidates are the pods that run, with what they take of what is short.
func (e *evictor) candidates(ctx context.Context, s eviction.Signal) ([]eviction.Candidate, error) {
	reading, err := e.m.usage.ReadNow(ctx)
	if err != nil {
		return nil, err
	}
	measured := usesOf(reading.Containers)
	var out []eviction.Candidate
	for _, a := range e.m.all() {
		shown := a.snapshot()
		if a.ends() {
			continue
		}
		u := measured[string(a.uid)]
		if s != eviction.MemoryAvailable && s != eviction.PIDAvailable {
			if u == nil {
				u = containerUses{}
			}
			files := e.m.filesOf(stats.Pod{Namespace: shown.pod.Namespace, Name: shown.pod.Name, UID: string(a.uid)})
			for name, logs := range files.Logs {
				u.of(name).disk(logs)
			}
			files.Logs = nil
			u.of(sharedUses).disk(files.Total())
		}
		out = append(out, candidate(shown.pod, u))
	}
	return out, nil
}

// containerUses are what a pod's containers take, by name.
type containerUses map[string]uses

// sharedUses stands for what is the pod's and not one container's: no container has such a name.
const sharedUses = ""

func (c containerUses) of(name string) uses {
	if c[name] == nil {
		c[name] = uses{}
	}
	return c[name]
}

// total is what all take together. Of a pod of which nothing runs it is known that it takes no memory.
func (c containerUses) total() uses {
	sum := uses{}
	if len(c) == 0 || len(c) == 1 && c[sharedUses] != nil {
		sum[corev1.ResourceMemory] = 0
	}
	for _, u := range c {
		for name, n := range u {
			sum[name] += n
		}
	}
	return sum
}

// uses are what a pod takes; what was not measured is missing.
type uses map[corev1.ResourceName]int64

func (u uses) add(name corev1.ResourceName, n *uint64) {
	if n != nil {
		u[name] += int64(*n)
	}
}

func (u uses) disk(d stats.DiskUse) {
	u.add(corev1.ResourceEphemeralStorage, d.Bytes)
	u.add(eviction.Inodes, d.Inodes)
}

// usesOf are what pods take, by their UIDs.
func usesOf(containers []stats.Container) map[string]containerUses {
	out := map[string]containerUses{}
	for i := range containers {
		c := &containers[i]
		if out[c.Pod.UID] == nil {
			out[c.Pod.UID] = containerUses{}
		}
		u := out[c.Pod.UID].of(c.Name)
		u.add(corev1.ResourceMemory, c.Memory.Working)
		u.disk(c.Disk)
	}
	return out
}

// candidate is the pod as it is ranked.
func candidate(p *corev1.Pod, u containerUses) eviction.Candidate {
	c := eviction.Candidate{
		UID: p.UID, Name: p.Namespace + "/" + p.Name, Started: p.CreationTimestamp.Time, Uses: u.total(), Requests: map[corev1.ResourceName]int64{},
		Grace: pod.Grace(p),
	}
	if p.Status.StartTime != nil {
		c.Started = p.Status.StartTime.Time
	}
	if p.Spec.Priority != nil {
		c.Priority = *p.Spec.Priority
	}
	c.Critical = isCritical(p)
	for name, q := range helpers.PodRequests(p, helpers.PodResourcesOptions{}) {
		if name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage {
			c.Requests[name] = q.Value()
		}
	}
	for one := range pod.Containers(p) {
		share := eviction.Share{Name: one.Name, Uses: u[one.Name], Requests: map[corev1.ResourceName]int64{}}
		for name, q := range one.Resources.Requests {
			share.Requests[name] = q.Value()
		}
		c.Containers = append(c.Containers, share)
	}
	return c
}

// isCritical tells whether the node or the cluster does not work without the pod: it is never evicted.
func isCritical(p *corev1.Pod) bool { return ptr.Deref(p.Spec.Priority, 0) >= criticalPriority }

func (e *evictor) evict(uid types.UID, message string, grace time.Duration) {
	if grace >= 0 {
		grace = max(grace, evictionGrace)
	}
	if a := e.m.actor(uid); a != nil {
		a.evict(message, grace)
	}
}

func (e *evictor) ended(uid types.UID) bool {
	a := e.m.actor(uid)
	if a == nil {
		return true
	}
	shown := a.snapshot()
	for _, b := range shown.sandboxes {
		if b.ready {
			return false
		}
	}
	if len(shown.instances) > 0 && !pod.Terminal(shown.phase) {
		return false
	}
	_, err := os.Lstat(e.m.paths.volumes(uid)) // what it has written goes last
	return err != nil
}

// evict has the pod end for what the node is short of, or for what it takes beyond its limits. It has the grace to do so,
// or what it asks for, if that is less; a negative one does not count.
func (a *actor) evict(message string, grace time.Duration) {
	a.tell(func() {
		a.evicted, a.evictedGrace = message, grace
		if a.abandon != nil {
			a.abandon()
		}
	})
}

// ends tells whether the pod is on its way out, for whatever reason, or has ended.
func (a *actor) ends() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone || a.finished || a.evicted != "" || a.pod.DeletionTimestamp != nil || pod.Terminal(a.pod.Status.Phase) || pod.Terminal(a.shown.phase)
}
