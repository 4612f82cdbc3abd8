package ebpfproxy

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
)

// TestNATLiveRestart: connections live on while the process that set the programs up ends, while none runs, and when the
// next takes over; and when it is told to remove everything, nothing is left.
func TestNATLiveRestart(t *testing.T) {
	cfg := Config{PinDir: bpffs(t) + "/petrel"}
	w := newNATTown(t, cfg)
	cfg.CgroupPath = w.proxy.cfg.CgroupPath
	f := bothFamilies[0]
	var services []Service
	for _, proto := range []Protocol{TCP, UDP} {
		for _, c := range natLiveCases {
			services = append(services, c.service(f, proto))
			w.echo(c.in(w), proto, c.to(f))
		}
	}
	w.serve(services...)
	var open []net.Conn
	for _, proto := range []Protocol{TCP, UDP} {
		for _, c := range natLiveCases {
			conn, err := w.dial(proto, c.at(f))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := ask(conn, 10); err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
	}
	still := func(when string) {
		t.Helper()
		for _, c := range open {
			if err := again(c); err != nil {
				t.Errorf("%s: %s: %v", when, c.RemoteAddr(), err)
			}
			fresh, err := w.dial(TCP, natLiveCases[0].at(f))
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			fresh.Close()
		}
	}
	for range 2 {
		if err := errors.Join(w.nat.Close(), w.proxy.Close()); err != nil {
			t.Fatal(err)
		}
		still("while no process runs")
		w.open(cfg)
		still("after opening")
		w.serve(services...)
		still("after attaching")
	}
	if n := w.attached(); n != 4 {
		t.Errorf("%d programs are attached, want 4", n)
	}
	w.node.do(func() {
		if err := w.nat.SetInterfaces([]string{"e0"}); err != nil {
			t.Error(err)
		}
	})
	if n := w.attached(); n != 2 {
		t.Errorf("%d programs are attached, want 2", n)
	}
	if err := errors.Join(w.nat.Close(), w.proxy.Remove()); err != nil {
		t.Fatal(err)
	}
	if n := w.attached(); n != 0 {
		t.Errorf("%d programs are left", n)
	}
}

// TestNATLiveRestartsUnderLoad: whoever connects while processes come and go does not notice.
func TestNATLiveRestartsUnderLoad(t *testing.T) {
	cfg := Config{PinDir: bpffs(t) + "/petrel"}
	w := newNATTown(t, cfg)
	cfg.CgroupPath = w.proxy.cfg.CgroupPath
	f := bothFamilies[0]
	var services []Service
	for _, c := range []natLiveCase{natLiveCases[0], natLiveCases[3]} {
		services = append(services, c.service(f, TCP))
		w.echo(c.in(w), TCP, c.to(f))
	}
	w.serve(services...)
	var load sync.WaitGroup
	stop := make(chan struct{})
	asked := make([]int, 4)
	failed := make([]error, len(asked))
	for i := range asked {
		at := []natLiveCase{natLiveCases[0], natLiveCases[3]}[i%2].at(f)
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := w.dial(TCP, at)
				if err == nil {
					_, err = ask(c, 100)
					c.Close()
				}
				if err != nil {
					failed[i] = errors.Join(failed[i], err)
				}
				asked[i]++
			}
		})
	}
	for range 8 {
		if err := errors.Join(w.nat.Close(), w.proxy.Close()); err != nil {
			t.Error(err)
		}
		w.open(cfg)
		w.serve(services...)
	}
	close(stop)
	load.Wait()
	total := 0
	for i := range asked {
		total += asked[i]
		if failed[i] != nil {
			t.Error(failed[i])
		}
	}
	t.Logf("%d connections, 8 restarts", total)
	if total < 100 {
		t.Errorf("only %d connections were made", total)
	}
	if err := errors.Join(w.nat.Close(), w.proxy.Remove()); err != nil {
		t.Error(err)
	}
}

// TestNATLiveUpgrade: connections and programs are taken over from a version whose tables are the same, and from one
// whose tables are not the programs, so that new connections are served at any time.
func TestNATLiveUpgrade(t *testing.T) {
	f, c := bothFamilies[0], natLiveCases[0]
	same := append(slices.Clone(tableMaps), "petrel_nat", "petrel_natfrag", "petrel_natconf", "petrel_natstat", "petrel_node")
	for name, carried := range map[string][]string{"the same tables": same, "other tables": nil} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{PinDir: bpffs(t) + "/petrel"}
			w := newNATTown(t, cfg)
			cfg.CgroupPath = w.proxy.cfg.CgroupPath
			w.echo(c.in(w), TCP, c.to(f))
			w.serve(c.service(f, TCP))
			conn, err := w.dial(TCP, c.at(f))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := ask(conn, 10); err != nil {
				t.Fatal(err)
			}
			w.node.do(func() { err = w.nat.SetInterfaces([]string{"e0", "b0", "p0"}) })
			if err := errors.Join(err, w.nat.Close(), w.proxy.Close()); err != nil {
				t.Fatal(err)
			}
			natSchema, natCarried = schemaVersion+1, map[int][]string{schemaVersion: carried}
			defer func() { natSchema, natCarried = 0, nil }()
			fresh := func(when string) {
				t.Helper()
				c, err := w.dial(TCP, c.at(f))
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				c.Close()
			}
			fresh("while no process runs")
			w.open(cfg)
			fresh("after opening")
			w.serve(c.service(f, TCP))
			fresh("after attaching")
			if err := again(conn); err != nil && carried != nil {
				t.Error(err)
			}
			if n := w.attached(); n != 4 {
				t.Errorf("%d programs are attached, want 4", n)
			}
			if err := errors.Join(w.nat.Close(), w.proxy.Remove()); err != nil {
				t.Fatal(err)
			}
			if n := w.attached(); n != 0 {
				t.Errorf("%d programs are left", n)
			}
		})
	}
}
