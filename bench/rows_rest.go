package main

import (
	"context"

	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

// restPodCount is a node's usual number of pods.
const restPodCount = 100

func restRows() []row {
	return []row{
		{
			name: "pods/worker-rest-memory", direction: table.AtMost, bar: 12, measure: restMemoryRow,
			what: "Resident memory of the worker's process of a node at rest with 100 Wasm pods, divided by that of a trivial Go HTTP server. client-go\n" +
				"and its types, gRPC, the service proxy and the DNS server are in it.",
		},
		{
			name: "pods/worker-rest-cpu", direction: table.AtMost, bar: 0.01, measure: restCPURow,
			what: "Processor time that the worker's process uses while 100 pods are at rest, divided by the time that passes: a share of one core.",
		},
	}
}

// rest is what a worker at rest showed.
type resting struct {
	worker, trivial memory
	cpu             float64
}

func restMemoryRow(ctx context.Context, l *lab) (m measurement, err error) {
	r, err := l.restingWorker(ctx)
	if err != nil {
		return m, err
	}
	m.value = r.worker.RSS / r.trivial.RSS
	m.barred("worker, resident", r.worker.RSS/1024, 60, "MiB")
	m.note("worker, proportional: %.1f MiB", r.worker.PSS/1024)
	m.note("a trivial Go HTTP server: %.1f MiB resident", r.trivial.RSS/1024)
	return m, nil
}

func restCPURow(ctx context.Context, l *lab) (m measurement, err error) {
	r, err := l.restingWorker(ctx)
	if err != nil {
		return m, err
	}
	m.value = r.cpu
	m.note("worker: %.2f %% of a core", 100*r.cpu)
	return m, nil
}

// restingWorker measures once for the rows that draw on it.
func (l *lab) restingWorker(ctx context.Context) (*resting, error) {
	if l.resting != nil {
		return l.resting, nil
	}
	r := &resting{}
	err := l.withSplit(ctx, func(s *cluster.Split) error {
		c := s.Cluster()
		if err := l.runGuest(ctx, c, "many", probeGuest, 1); err != nil {
			return err
		}
		if err := l.scaleTo(ctx, c, restPodCount); err != nil {
			return err
		}
		if err := available(ctx, c, "many", restPodCount); err != nil {
			return err
		}
		if err := pause(ctx, idleRest); err != nil {
			return err
		}
		shares, err := partsCPU(ctx, s)
		if err != nil {
			return err
		}
		r.cpu = shares["worker"]
		r.worker, err = memoryOf(s.Worker.PID())
		return err
	})
	if err != nil {
		return nil, err
	}
	plain, err := l.startBaseline(ctx)
	if err != nil {
		return nil, err
	}
	defer plain.stop()
	if r.trivial, err = memoryOf(plain.pid()); err != nil {
		return nil, err
	}
	l.resting = r
	return r, nil
}
