package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	idlePodCount = 10_000
	// idleRest is how long the pods are left alone after each has answered once, until their memory is read: pools give
	// instances back that nobody asks for, and the collector gives the kernel back what a burst took.
	idleRest = 30 * time.Second
	// idleWatch is how long idle processes' processor time is watched.
	idleWatch = 20 * time.Second
)

func idlePodRows() []row {
	return []row{
		{
			name: "pods/idle-10000-time", direction: table.AtMost, bar: 25, measure: idleTimeRow,
			what: "Seconds from `kubectl scale` of a Deployment of a Go guest from 0 to 10,000 until every pod is ready and has answered a request\n" +
				"at its own address, divided by the seconds in which 16 callers create as many pods through the API on the same cluster, where\n" +
				"nothing schedules or runs them. Control plane and worker are processes of their own and share the processors with the clients.\n" +
				"A running pod takes three writes where a created one takes one, each seen by scheduler, controllers and worker, and a sandbox, a\n" +
				"container and a listener.",
		},
		{
			name: "pods/idle-10000-memory", direction: table.AtMost, bar: 10, measure: idleMemoryRow,
			what: "Memory that each idle pod of one module beyond the first takes in worker, supervisor and runner together, divided by a page of\n" +
				"memory (4 KiB). Two pages are a listening socket's and its server's, the rest is for the pod as the worker and the\n" +
				"runtime know it. There is no instance of an idle pod.",
		},
		{
			name: "pods/idle-10000-cpu", direction: table.AtMost, bar: 0.05, measure: idleCPURow,
			what: "Processor time that all processes together use while 10,000 pods are idle, divided by the time that passes: a share of one\n" +
				"core. What is left to do is the node's heartbeat, relists and each runtime's own housekeeping.",
		},
	}
}

// idlePods is what ten thousand idle pods showed.
type idlePods struct {
	allReady, allAnswered time.Duration
	createdPerSecond      float64
	before, after         map[string]memory // by part
	cpu                   map[string]float64
}

// parts are the processes whose share of a pod is the node's, and the one whose share is shown beside it.
var nodeParts = []string{"worker", "supervisor", "runner"}

const controlPart = "control plane"

func idleTimeRow(ctx context.Context, l *lab) (m measurement, err error) {
	p, err := l.idleTenThousand(ctx)
	if err != nil {
		return m, err
	}
	alone := idlePodCount / p.createdPerSecond
	m.value = p.allAnswered.Seconds() / alone
	m.barred(fmt.Sprintf("0 → %d, each ready and asked once", idlePodCount), p.allAnswered.Seconds(), 60, "s")
	m.note("all ready after %.1f s", p.allReady.Seconds())
	m.note("as many created through the API and left alone: %.1f s (%.0f per s)", alone, p.createdPerSecond)
	return m, nil
}

func idleMemoryRow(ctx context.Context, l *lab) (m measurement, err error) {
	p, err := l.idleTenThousand(ctx)
	if err != nil {
		return m, err
	}
	perPod := func(part string) float64 { return (p.after[part].PSS - p.before[part].PSS) / (idlePodCount - 1) }
	var node float64
	for _, part := range nodeParts {
		node += perPod(part)
	}
	m.value = node / float64(os.Getpagesize()>>10)
	m.barred("worker, supervisor and runner, a pod", node, 40, "KiB")
	for _, part := range append(nodeParts, controlPart) {
		m.note("%s: %.1f KiB a pod (%.1f MiB with one, %.1f MiB with %d)", part, perPod(part), p.before[part].PSS/1024, p.after[part].PSS/1024, idlePodCount)
	}
	return m, nil
}

func idleCPURow(ctx context.Context, l *lab) (m measurement, err error) {
	p, err := l.idleTenThousand(ctx)
	if err != nil {
		return m, err
	}
	for _, part := range append(nodeParts, controlPart) {
		m.value += p.cpu[part]
		m.note("%s: %.2f %% of a core", part, 100*p.cpu[part])
	}
	return m, nil
}

// idleTenThousand measures once for the rows that draw on it.
func (l *lab) idleTenThousand(ctx context.Context) (*idlePods, error) {
	if l.idlePods != nil {
		return l.idlePods, nil
	}
	p := &idlePods{}
	err := l.withSplit(ctx, func(s *cluster.Split) error {
		c := s.Cluster()
		if err := l.runGuest(ctx, c, "many", probeGuest, 1); err != nil { // compiles the module
			return err
		}
		if err := pause(ctx, idleSettle); err != nil {
			return err
		}
		var err error
		if p.before, err = partsMemory(s); err != nil {
			return err
		}
		if err := l.scaleTo(ctx, c, 0); err != nil {
			return err
		}
		if err := available(ctx, c, "many", 0); err != nil {
			return err
		}
		if p.allReady, p.allAnswered, err = l.rise(ctx, c, idlePodCount); err != nil {
			return err
		}
		if err := pause(ctx, idleRest); err != nil {
			return err
		}
		if p.after, err = partsMemory(s); err != nil {
			return err
		}
		if p.cpu, err = partsCPU(ctx, s); err != nil {
			return err
		}
		p.createdPerSecond, err = createLeftAlone(ctx, c, idlePodCount)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.idlePods = p
	return p, nil
}

// parts answers the processes of a cluster by what they are. A runner that starts is one.
func parts(s *cluster.Split) (map[string][]int, error) {
	out := map[string][]int{"worker": {s.Worker.PID()}, controlPart: {s.ControlPlane.PID()}}
	for part, list := range map[string]func() ([]cluster.Found, error){"supervisor": s.Supervisors, "runner": s.Runners} {
		found, err := list()
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out[part] = append(out[part], f.PID)
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("find processes: %s %v, want one", part, found)
		}
	}
	return out, nil
}

func partsMemory(s *cluster.Split) (map[string]memory, error) {
	pids, err := parts(s)
	if err != nil {
		return nil, err
	}
	out := map[string]memory{}
	for part, list := range pids {
		if out[part], err = total(list); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// partsCPU answers which share of a core each part uses while nobody asks for anything.
func partsCPU(ctx context.Context, s *cluster.Split) (map[string]float64, error) {
	pids, err := parts(s)
	if err != nil {
		return nil, err
	}
	read := func() (map[string]time.Duration, error) {
		out := map[string]time.Duration{}
		for part, list := range pids {
			for _, pid := range list {
				used, err := cpuTimeOf(pid)
				if err != nil {
					return nil, err
				}
				out[part] += used
			}
		}
		return out, nil
	}
	before, err := read()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := pause(ctx, idleWatch); err != nil {
		return nil, err
	}
	after, err := read()
	if err != nil {
		return nil, err
	}
	share := map[string]float64{}
	for part := range pids {
		share[part] = (after[part] - before[part]).Seconds() / time.Since(began).Seconds()
	}
	return share, nil
}
