package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// boots boots a machine for a test, which is over when the test is.
func boots(t *testing.T, name string) *Machine {
	t.Helper()
	m, err := Boot(t.Context(), Config{Name: name, Group: fmt.Sprintf("petrel-test-%d/%s", os.Getpid(), name), Log: filepath.Join(t.TempDir(), "init.log")})
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, m.Place)
	})
	return m
}

// nothingLeft checks that a machine's processes and groups are gone, and removes the test's own group above them.
func nothingLeft(t *testing.T, p Place) {
	t.Helper()
	if _, err := p.hold(); !errors.Is(err, ErrGone) {
		t.Errorf("init %d is there: %v", p.Init, err)
	}
	for _, dir := range p.Groups {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
		_ = os.Remove(filepath.Dir(dir))
	}
}

func switches(t *testing.T, links int) *Switch {
	t.Helper()
	s, err := NewSwitch(links)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// shell runs a script in the machine and answers what it prints.
func shell(t *testing.T, p *Place, script string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out}
	if err := p.Start(cmd, nil); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v: %s", script, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

func TestMachineIsAHostOfItsOwn(t *testing.T) {
	m := boots(t, "alpha")
	if got := shell(t, &m.Place, "hostname; cat /proc/self/cgroup; ls /sys/class/net; ls /run | wc -l"); !strings.HasPrefix(got, "alpha\n") ||
		strings.Contains(got, "petrel-test") || !strings.HasSuffix(got, "lo\n0") {
		t.Errorf("inside it says\n%s", got)
	}
	if got := shell(t, &m.Place, "cat /proc/1/cmdline | tr '\\0' ' '"); !strings.HasPrefix(got, initName) {
		t.Errorf("process 1 is %q", got)
	}
	// A group that is made at the root in there is below the machine's out here, in every hierarchy.
	all, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range all {
		shell(t, &m.Place, fmt.Sprintf("mkdir %s/inner", h.Mount))
		outer := groupsAt([]hierarchy{all[i]}, fmt.Sprintf("petrel-test-%d/alpha/inner", os.Getpid())).dirs()
		if dir := outer[len(outer)-1]; dir == "" || !exists(dir) {
			t.Errorf("%s/inner is not %s", h.Mount, dir)
		}
	}
	// Of the kernel's own file systems it knows its own, and none of the host's, which the list of mounts may name too.
	bpffs := t.TempDir()
	want := []string{"1", "cgroup2", "1", "proc", "1", "sysfs"}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err == nil { // else it is a kernel without BPF
		defer func() { _ = unix.Unmount(bpffs, unix.MNT_DETACH) }()
		want = append([]string{"1", "bpf"}, want...)
	}
	late := boots(t, "late")
	kinds := shell(t, &late.Place, `sed 's/.* - //' /proc/self/mountinfo | cut -d' ' -f1 | sort | uniq -c | grep -e ' bpf$' -e ' cgroup2$' -e ' sysfs$' -e ' proc$'`)
	if got := strings.Fields(kinds); !slices.Equal(got, want) {
		t.Errorf("mounts in there: %v, want %v", got, want)
	}
	if private := shell(t, &m.Place, "grep -v ' shared:' /proc/self/mountinfo || true"); private != "" {
		t.Errorf("mounts that containers cannot share:\n%s", private)
	}
	hidden := shell(t, &m.Place, "mount -t tmpfs none /run && touch /run/x && echo done")
	if hidden != "done" || exists("/run/x") {
		t.Errorf("a mount in the machine: %s", hidden)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestProcessesEndWithTheMachine(t *testing.T) {
	m := boots(t, "beta")
	shell(t, &m.Place, "setsid sleep 1000 >/dev/null 2>&1 & setsid sleep 2000 >/dev/null 2>&1 &")
	var sleepers []Process
	waitFor(t, "two to sleep", func() bool { // each has been a shell and a setsid before
		sleepers = m.Processes()
		return len(sleepers) == 2 && !slices.ContainsFunc(sleepers, func(p Process) bool { return len(p.Args) != 2 || p.Args[0] != "sleep" })
	})
	n, err := m.Kill(func(p Process) bool { return slices.Contains(p.Args, "1000") })
	if err != nil || n != 1 {
		t.Fatalf("killed %d, %v", n, err)
	}
	waitFor(t, "one to be left", func() bool { return len(m.Processes()) == 1 })
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, p := range sleepers {
		if exists(filepath.Join("/proc", strconv.Itoa(p.PID))) {
			t.Errorf("%v is left", p)
		}
	}
	if err := m.Start(&exec.Cmd{Path: "/bin/true"}, nil); !errors.Is(err, ErrGone) {
		t.Errorf("starting in a machine that has ended: %v", err)
	}
	if _, err := m.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, ErrGone) {
		t.Errorf("dialling into a machine that has ended: %v", err)
	}
}

// TestSweepAfterTheInitWasKilled is what is left when everything was killed: groups.
func TestSweepAfterTheInitWasKilled(t *testing.T) {
	m := boots(t, "gamma")
	shell(t, &m.Place, "setsid sleep 1000 >/dev/null 2>&1 &")
	if err := m.init.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the kernel to end the rest", func() bool { return len(m.Processes()) == 0 })
	if !exists(m.Groups[0]) {
		t.Error("the groups went by themselves")
	}
	if err := Sweep(m.Groups...); err != nil {
		t.Error(err)
	}
	if err := Sweep(m.Groups...); err != nil { // again
		t.Error(err)
	}
}

// TestSweepEndsProcesses: a group of the same path that was left, with a process in it, makes way.
func TestSweepEndsProcesses(t *testing.T) {
	m := boots(t, "delta")
	shell(t, &m.Place, "setsid sleep 1000 >/dev/null 2>&1 &")
	if err := Sweep(m.Groups...); err != nil {
		t.Fatal(err)
	}
	if left := m.Processes(); len(left) > 0 || exists(m.Groups[0]) {
		t.Errorf("left %v", left)
	}
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func TestSwitch(t *testing.T) {
	before := interfaces(t)
	s := switches(t, 2)
	var machines []*Machine
	for i, link := range []int{0, 0, 1} {
		m := boots(t, fmt.Sprintf("node-%d", i+1))
		if err := s.Plug(m.Place, link, s.Links[link].Host(i+1)); err != nil {
			t.Fatal(err)
		}
		echoes(t, func(cmd *exec.Cmd) error { return m.Start(cmd, nil) })
		machines = append(machines, m)
	}
	echoes(t, func(cmd *exec.Cmd) error { return StartIn(s.RouterNetns(), cmd) })
	for _, to := range []netip.Addr{
		s.Links[0].Host(1)[0], s.Links[0].Host(2)[0], s.Links[0].Host(2)[1], s.Links[0].Router[0],
		s.Links[1].Host(3)[0], s.Links[1].Host(3)[1], Outside4, Outside6,
	} {
		heard(t, machines[0], netip.AddrPortFrom(to, echoPort))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := machines[0].Dial(ctx, netip.AddrPortFrom(s.Links[0].Host(9)[0], echoPort)); err == nil {
		t.Error("a connection to nobody came about")
	}
	if _, err := machines[0].Dial(t.Context(), netip.AddrPortFrom(s.Links[0].Host(1)[1], 9)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port that nobody listens on: %v", err)
	}
	if after := interfaces(t); !slices.Equal(before, after) {
		t.Errorf("this host's interfaces were %v and are %v", before, after)
	}
}

func interfaces(t *testing.T) (names []string) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

// echoes starts a server that gives back what it gets.
func echoes(t *testing.T, start func(*exec.Cmd) error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: []string{"echo"}, Env: []string{fmt.Sprintf("%s=:%d", echoEnv, echoPort)}}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// heard asks an echo from a machine.
func heard(t *testing.T, from *Machine, at netip.AddrPort) {
	t.Helper()
	var conn net.Conn
	var err error
	for range 3000 { // it may not listen yet
		if conn, err = from.Dial(t.Context(), at); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	answer := make([]byte, 6)
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello\n" {
		t.Errorf("%s answers %q, %v", at, answer, err)
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{Name: "node-1", Group: "petrel-lab/node-1", Log: "/x"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Config{
		{Group: "a", Log: "/x"}, {Name: "a/b", Group: "a", Log: "/x"}, {Name: "a.b", Group: "a", Log: "/x"}, {Name: "a", Log: "/x"},
		{Name: "a", Group: "/a", Log: "/x"}, {Name: "a", Group: "../a", Log: "/x"}, {Name: "a", Group: "a/../b", Log: "/x"}, {Name: "a", Group: "a"},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken for valid", bad)
		}
	}
	for _, links := range []int{0, MaxLinks + 1} {
		if _, err := NewSwitch(links); err == nil {
			t.Errorf("a switch of %d links", links)
		}
	}
}
