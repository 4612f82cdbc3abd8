package cgroup

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/cgrouplock"
)

// eaterEnv makes the test's own binary a process that takes that many MiB and waits.
const eaterEnv = "PETREL_TEST_EAT"

func TestMain(m *testing.M) {
	if os.Getenv(eaterEnv) != "" {
		var mib int
		_, _ = fmt.Sscan(os.Getenv(eaterEnv), &mib)
		_, _ = os.Stdin.Read(make([]byte, 1)) // until it is in its group
		eaten := bytes.Repeat([]byte{1}, mib<<20)
		fmt.Println(len(eaten))
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

func eater(t *testing.T, mib int) (*exec.Cmd, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{fmt.Sprintf("%s=%d", eaterEnv, mib)}
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = w.Close() })
	return cmd, w
}

// realManager is one on this host's hierarchies.
func realManager(t *testing.T, l Limits) *Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("groups are root's to make")
	}
	m, err := Open(Config{Holder: fmt.Sprintf("petrel-test-%d-%s", os.Getpid(), strings.ToLower(t.Name())), Limits: l, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Sweep(m.Dirs(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
		Release(m.Dirs())
		m.Close()
		for _, d := range m.Dirs() {
			if _, err := os.Stat(d); err == nil {
				t.Errorf("%s is left", d)
			}
		}
	})
	t.Log(m.Report())
	return m
}

func TestRealGroup(t *testing.T) {
	m := realManager(t, Limits{Memory: 256 << 20, Weight: 50, Threads: 100})
	if len(m.Dirs()) == 0 {
		t.Skip("this host offers no controller")
	}
	for _, d := range m.Dirs() {
		if raw, err := os.ReadFile(filepath.Join(d, "cpu.shares")); err == nil && strings.TrimSpace(string(raw)) != strconv.Itoa(1024*runtime.NumCPU()) {
			t.Errorf("all groups together weigh %s: less than the processors they may fill", raw)
		}
	}
	g, err := m.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := eater(t, 1)
	if err := g.Join(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	member, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	if err != nil || strings.Count(string(member), filepath.Base(m.Dirs()[0])+"/a") != len(m.Dirs()) {
		t.Errorf("the process is in %s, %v", member, err)
	}
	// Another supervisor's sweep keeps what it knows and ends what it does not.
	if _, err := m.Create("b"); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(m.Dirs(), func(name string) bool { return name == "b" }); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the stray ended with %v", err)
	}
	for _, d := range m.Dirs() {
		if _, err := os.Stat(filepath.Join(d, "a")); err == nil {
			t.Errorf("%s/a is left", d)
		}
		if _, err := os.Stat(filepath.Join(d, "b")); err != nil {
			t.Error(err)
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	m := realManager(t, Limits{Memory: 24 << 20})
	if !m.has(Memory) {
		t.Skip(m.Report()[Memory])
	}
	g, err := m.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	cmd, begin := eater(t, 64)
	if err := g.Join(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if n := g.OutOfMemory(); n != 0 {
		t.Errorf("%d deaths before", n)
	}
	if _, err := begin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	if n := g.OutOfMemory(); n == 0 {
		t.Error("its death is not told")
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if err := g.Remove(); err != nil { // again
		t.Error(err)
	}
}

// TestUnified plays a v2 hierarchy with plain files: this machine may have none whose controllers are free.
func TestUnified(t *testing.T) {
	mount := t.TempDir()
	own := filepath.Join(mount, "system.slice", "x.service")
	holder := filepath.Join(own, "petrel-h")
	for _, dir := range []string{own, holder, filepath.Join(holder, "seen")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{
			"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": "", "cgroup.procs": "",
			"memory.events": "low 0\noom 3\noom_kill 2\n", "memory.current": "4096\n", "cpu.weight": "",
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, left := range []string{"petrel-left", "elses-left"} {
		held, err := cgrouplock.Hold(filepath.Join(own, left))
		if err == nil {
			err = held.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all := readHierarchies(fmt.Sprintf("1 0 0:1 / %s rw - cgroup2 cgroup2 rw\n", mount), "0::/system.slice/x.service\n")
	m, err := open(Config{Holder: "petrel-h", Limits: Limits{Memory: 1 << 30, Threads: 7}, Logger: slog.New(slog.DiscardHandler)}, all)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if removed, err := m.SweepOthers("petrel-"); err != nil || len(removed) != 1 || removed[0] != filepath.Join(own, "petrel-left") {
		t.Errorf("swept %q: %v", removed, err)
	}
	if got := m.Dirs(); len(got) != 1 || got[0] != holder {
		t.Fatalf("holders %v, report %v", got, m.Report())
	}
	for _, dir := range []string{own, holder} {
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if err != nil || string(raw) != "+memory +cpu +pids" {
			t.Errorf("%s offers %q, %v", dir, raw, err)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(holder, "cpu.weight")); err != nil || string(raw) != strconv.Itoa(100*runtime.NumCPU()) {
		t.Errorf("the holder weighs %q, %v: less than the processors it may fill", raw, err)
	}
	g, err := m.Find("seen")
	if err != nil {
		t.Fatal(err)
	}
	if g.OutOfMemory() != 2 || g.MemoryBytes() != 4096 {
		t.Errorf("out of memory %d, bytes %d", g.OutOfMemory(), g.MemoryBytes())
	}
	got := map[string]string{}
	for _, c := range controllers {
		for _, s := range settings(c, true, m.cfg.Limits) {
			got[s.file] = s.value
		}
	}
	if got["memory.max"] != "1073741824" || got["cpu.weight"] != "100" || got["pids.max"] != "7" {
		t.Errorf("settings %v", got)
	}
}

func TestHierarchies(t *testing.T) {
	const mounts = `32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/a\040b rw,relatime shared:7 - cgroup cgroup rw,memory
36 31 0:32 /docker/1 /inside rw - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:38 / /again rw,relatime - cgroup2 cgroup2 rw
9 1 0:3 / / rw - ext4 /dev/vda rw
broken
`
	all := readHierarchies(mounts, "4:memory:/api/1\n1:cpu,cpuacct:/\n7:pids:/docker/1/x\n0::/\nbroken\n")
	got := map[string]string{}
	for _, h := range all {
		got[strings.Join(h.names, "+")] = h.dir("")
	}
	want := map[string]string{"": "/sys/fs/cgroup/unified", "cpu+cpuacct": "/sys/fs/cgroup/cpu", "memory": "/sys/fs/cgroup/a b/api/1", "pids": "/inside/x"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if d := all[0].dir("/petrel.slice"); d != "/sys/fs/cgroup/cpu/petrel.slice" {
		t.Errorf("named parent: %s", d)
	}
	outside := hierarchy{mount: "/m", root: "/docker/1", own: "/else"}
	if d := outside.dir(""); d != "/m" {
		t.Errorf("outside: %s", d)
	}
	moved := hierarchy{mount: "/m", root: "/", own: "/x.service/" + supervisorLeaf, v2: true}
	if d := moved.dir(""); d != "/m/x.service" {
		t.Errorf("moved: %s", d)
	}
}

func TestValidate(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, c := range []Config{
		{Holder: "x"}, {Logger: log}, {Logger: log, Holder: "../x"}, {Logger: log, Holder: "x", Parent: "/a/../b"},
		{Logger: log, Holder: "x", Limits: Limits{Weight: MaxWeight + 1}},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is taken for valid", c)
		}
	}
	if err := (Config{Logger: log, Holder: "x", Parent: "/a/b.slice"}).Validate(); err != nil {
		t.Error(err)
	}
	m := &Manager{}
	for _, name := range []string{"", "..", "a/b"} {
		if _, err := m.Find(name); err == nil {
			t.Errorf("%q is a group's name", name)
		}
	}
}

func FuzzHierarchies(f *testing.F) {
	f.Add("1 0 0:1 / /m rw - cgroup2 cgroup2 rw\n", "0::/x\n")
	f.Add("32 31 0:29 / /c rw - cgroup cgroup rw,cpu\n", "1:cpu:/\n")
	f.Fuzz(func(t *testing.T, mounts, groups string) {
		for _, h := range readHierarchies(mounts, groups) {
			if h.own == "" || h.mount == "" || h.dir("") == "" {
				t.Errorf("%+v", h)
			}
		}
	})
}
