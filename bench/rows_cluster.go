package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	// startRounds is how often a cluster is started; starts scatter less than rates do.
	startRounds = 3
	// idleSettle is how long a cluster is left alone before its memory is read: the collector's and the kernel's time.
	idleSettle = 10 * time.Second
)

func clusterRows() []row {
	return []row{
		{
			name: "cluster/start-to-ready", direction: table.AtMost, bar: 2.5, measure: startToReady,
			what: "Seconds from `petrel up` on an empty folder to a ready node, divided by the seconds that a bare etcd takes to be ready on an\n" +
				"empty folder. Nothing can be ready before etcd is; above it come one process start, the resources' first lists, and the\n" +
				"node's registration, which together should not cost more than etcd's own start and a half.",
		},
		{
			name: "cluster/restart-to-ready", direction: table.AtMost, bar: 2.5, measure: restartToReady,
			what: "The same with a folder that has state: `petrel up` after a clean stop, to a ready node, divided by a bare etcd's start on a\n" +
				"folder that has state.",
		},
		idleRow("petrel", 12, "Kubernetes' types, validation and printers and etcd are in it; a throw-away server with the same took 59 MiB, eleven times."),
		idleRow("supervisor", 3, "gRPC is what it has beyond a trivial server."),
		idleRow("runner", 8, "It holds one Go module's compiled code and its metadata, tens of MiB, beyond a trivial server."),
	}
}

func startToReady(ctx context.Context, l *lab) (measurement, error) {
	petrel := func() (seconds float64, err error) {
		began := time.Now()
		err = l.withCluster(ctx, nil, func(*cluster.Cluster) error {
			seconds = time.Since(began).Seconds()
			return nil
		})
		return seconds, err
	}
	etcd := func() (float64, error) {
		dir, err := l.folder()
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		return etcdStart(ctx, dir)
	}
	p, err := stats.Pair(startRounds, petrel, etcd)
	return paired(p, err, "petrel up", "bare etcd", "s")
}

// etcdStart answers the seconds until a bare etcd is ready.
func etcdStart(ctx context.Context, dir string) (float64, error) {
	began := time.Now()
	e, err := startEtcd(ctx, dir)
	if err != nil {
		return 0, err
	}
	seconds := time.Since(began).Seconds()
	e.close()
	return seconds, nil
}

func restartToReady(ctx context.Context, l *lab) (m measurement, err error) {
	dir, err := l.folder()
	if err != nil {
		return m, err
	}
	if _, err := etcdStart(ctx, dir); err != nil { // leaves the state that the rounds begin with
		return m, err
	}
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		petrel := func() (float64, error) {
			if err := c.Interrupt(ctx); err != nil {
				return 0, err
			}
			began := time.Now()
			if err := c.Up(ctx); err != nil {
				return 0, err
			}
			if err := nodeReady(ctx, c, began); err != nil {
				return 0, err
			}
			return time.Since(began).Seconds(), nil
		}
		p, err := stats.Pair(startRounds, petrel, func() (float64, error) { return etcdStart(ctx, dir) })
		m, err = paired(p, err, "petrel up", "bare etcd", "s")
		return err
	})
	return m, err
}

// idleRow is the row of one kind of process.
func idleRow(process string, bar float64, why string) row {
	return row{
		name: "cluster/idle-memory-" + process, direction: table.AtMost, bar: bar,
		what: "Resident memory of the " + process + " process of an idle cluster that has one app of one Go module, divided by that of a trivial Go\n" +
			"HTTP server. " + why,
		measure: func(ctx context.Context, l *lab) (m measurement, err error) {
			idle, err := l.idle(ctx)
			if err != nil {
				return m, err
			}
			m.value = idle.of[process].RSS / idle.trivial.RSS
			m.note("%s: %.1f MiB resident, %.1f MiB proportional", process, idle.of[process].RSS/1024, idle.of[process].PSS/1024)
			m.note("a trivial Go HTTP server: %.1f MiB resident", idle.trivial.RSS/1024)
			return m, nil
		},
	}
}

// idleMemory is what the processes of an idle cluster occupy.
type idleMemory struct {
	of      map[string]memory
	trivial memory
}

// idle measures once for the rows that draw on it.
func (l *lab) idle(ctx context.Context) (*idleMemory, error) {
	if l.idleMemory != nil {
		return l.idleMemory, nil
	}
	idle := &idleMemory{of: map[string]memory{}}
	err := l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		if err := l.runGuest(ctx, c, "hello", probeGuest, 1); err != nil {
			return err
		}
		plain, err := l.startBaseline(ctx)
		if err != nil {
			return err
		}
		defer plain.stop()
		if err := pause(ctx, idleSettle); err != nil {
			return err
		}
		if idle.trivial, err = memoryOf(plain.pid()); err != nil {
			return err
		}
		return idle.read(c)
	})
	if err != nil {
		return nil, err
	}
	l.idleMemory = idle
	return idle, nil
}

func (i *idleMemory) read(c *cluster.Cluster) (err error) {
	runners, err := c.Runners()
	if err != nil {
		return err
	}
	supervisors, err := c.Supervisors()
	if err != nil {
		return err
	}
	if len(runners) != 1 || len(supervisors) != 1 {
		return fmt.Errorf("read memory: runners %v, supervisors %v, want one each", runners, supervisors)
	}
	for name, pid := range map[string]int{"petrel": c.State.PID, "supervisor": supervisors[0].PID, "runner": runners[0].PID} {
		if i.of[name], err = memoryOf(pid); err != nil {
			return err
		}
	}
	return nil
}
