package ebpfproxy

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// TestPolicyLeavesNothing: after everything was open, pinned and in use, neither programs nor pins stay.
func TestPolicyLeavesNothing(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	pod := a.container(1)
	p := a.openRaw(Config{PinDir: dir})
	e := a.openEnforcer(p, testPolicySizes)
	s := a.openSteer(SteerConfig{Proxy: p})
	mustPolicy(t, e, isolateA())
	var err error
	guard := map[string][]netip.Addr{pod.device: {netip.MustParseAddr(pod.addr)}}
	a.in(func() { err = e.SetDevices(guard) })
	if err = errors.Join(err, s.Listen(steerAddr(1), TCP, a.runner("one"))); err != nil {
		t.Fatal(err)
	}
	listener := collectFlows(t, a.openFlows(FlowsConfig{Enforcer: e}))
	a.mustAsk(steerAddr(1))
	listener.wait(2)
	listener.end()
	programs := programsOf(t, e.collection, s.collection)

	if err := errors.Join(e.Detach(), s.Detach(), p.Remove()); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if path != dir && filepath.Ext(path) != ".debug" { // the file system's own
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, hook := range policyHooks {
		left, err := link.QueryPrograms(link.QueryOptions{Target: cgroupFD(t, a.cgroup), Attach: hook.attach})
		if err != nil || len(left.Programs) != 0 {
			t.Errorf("%s: %v, %v", hook.program, left, err)
		}
	}
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if len(alive(programs)) == 0 {
			return
		}
	}
	t.Errorf("programs are left: %v", alive(programs))
}

func cgroupFD(t *testing.T, path string) int {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return int(dir.Fd())
}

func programsOf(t *testing.T, collections ...*ebpf.Collection) map[ebpf.ProgramID]string {
	t.Helper()
	out := map[ebpf.ProgramID]string{}
	for _, c := range collections {
		for name, program := range c.Programs {
			info, err := program.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, ok := info.ID()
			if !ok {
				t.Fatal("a program has no number")
			}
			out[id] = name
		}
	}
	return out
}

func alive(programs map[ebpf.ProgramID]string) (names []string) {
	for id, name := range programs {
		if program, err := ebpf.NewProgramFromID(id); err == nil {
			program.Close()
			names = append(names, name)
		}
	}
	return names
}
