package worker

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/staticpods"
)

// staticInterval is how often the directory of static pods is looked at.
const staticInterval = 2 * time.Second

// staticKeeper runs the pods of a directory, and shows them to the API as mirror pods.
type staticKeeper struct {
	m    *manager
	poke chan struct{} // something of the mirrors has changed

	mu      sync.Mutex
	wanted  map[types.NamespacedName]*corev1.Pod // nil before the directory was looked at
	mirrors map[types.NamespacedName]*corev1.Pod
	reports map[types.NamespacedName]*report // the last of each pod
}

func newStaticKeeper(m *manager) *staticKeeper {
	return &staticKeeper{
		m: m, poke: make(chan struct{}, 1), mirrors: map[types.NamespacedName]*corev1.Pod{}, reports: map[types.NamespacedName]*report{},
	}
}

func nameOf(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// follow runs what the directory holds until ctx ends. Without a directory it lets go of what an earlier one held.
func (k *staticKeeper) follow(ctx context.Context) {
	directory := staticpods.Open(k.m.cfg.StaticPods, k.m.cfg.NodeName)
	told := ""
	for {
		var pods []*corev1.Pod
		var err error
		if k.m.cfg.StaticPods != "" {
			pods, err = directory.Read()
		}
		told = k.complain(err, told)
		k.want(pods)
		k.run()
		select {
		case <-ctx.Done():
			return
		case <-time.After(staticInterval):
		}
	}
}

// complain says once what is wrong with the files.
func (k *staticKeeper) complain(err error, told string) string {
	if err == nil {
		return ""
	}
	if err.Error() != told {
		k.m.log.Warn("static pods were not read", "error", err)
	}
	return err.Error()
}

// want takes over what the directory holds.
func (k *staticKeeper) want(pods []*corev1.Pod) {
	wanted := make(map[types.NamespacedName]*corev1.Pod, len(pods))
	for _, p := range pods {
		wanted[nameOf(p)] = p
	}
	k.mu.Lock()
	changed := len(wanted) != len(k.wanted)
	for name, p := range wanted {
		changed = changed || k.wanted[name] != p
	}
	k.wanted = wanted
	k.mu.Unlock()
	if changed {
		k.wake()
	}
}

// run begins and ends pods. One whose text has changed begins when the one before it has ended: they may want the same
// ports.
func (k *staticKeeper) run() {
	k.mu.Lock()
	wanted := k.wanted
	k.mu.Unlock()
	for _, a := range k.m.all() {
		if !a.static {
			continue
		}
		if p := wanted[nameOf(a.snapshot().pod)]; p == nil || p.UID != a.uid {
			a.vanish()
		}
	}
	for name, p := range wanted {
		a := k.m.named(name.Namespace, name.Name)
		switch {
		case a == nil:
			k.m.accept(p)
		case a.uid == p.UID && !a.seen(): // taken over from disk, with what had become of it
			known := *p
			known.Status = k.m.newest(a.uid).Status
			k.m.accept(&known)
		}
	}
}

func (k *staticKeeper) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}
