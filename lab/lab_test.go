package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const echoPort = 7

// opens opens a lab for a test and closes it with it.
func opens(t *testing.T, nodes, links int) *Lab {
	t.Helper()
	l, err := New(Config{Dir: t.TempDir(), Nodes: nodes, Links: links, Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Open(t.Context()); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s := l.State()
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
		nothingLeft(t, l.Dir(), &s)
	})
	return l
}

// nothingLeft checks that all that a lab's state names is gone.
func nothingLeft(t *testing.T, dir string, s *State) {
	t.Helper()
	for _, g := range s.Groups {
		if exists(g) {
			t.Errorf("%s is left", g)
		}
	}
	for _, n := range s.Nodes {
		if alive(n.Init) {
			t.Errorf("the init of %s, %d, is left", n.Name, n.Init)
		}
		for _, p := range n.Processes {
			if alive(p.PID) {
				t.Errorf("%s of %s, %d, is left", p.Name, n.Name, p.PID)
			}
		}
	}
	if exists(s.Router) {
		t.Error("the router's network is left")
	}
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state is left: %v", err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func serveEcho(t *testing.T, n *Node) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(echoEnv, fmt.Sprintf(":%d", echoPort))
	if err := n.Start("echo", self); err != nil {
		t.Fatal(err)
	}
	if err := os.Unsetenv(echoEnv); err != nil {
		t.Fatal(err)
	}
}

// says asks for an echo until there is one.
func says(t *testing.T, dial func() (net.Conn, error)) {
	t.Helper()
	var err error
	for range 6000 {
		if err = hello(dial); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(err)
}

func hello(dial func() (net.Conn, error)) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && string(answer) != "hello\n" {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

func TestNodesReachEachOtherAndTheRelayReachesThem(t *testing.T) {
	l := opens(t, 3, 2)
	last, err := l.Node("node-3")
	if err != nil {
		t.Fatal(err)
	}
	serveEcho(t, last)
	at := netip.AddrPortFrom(last.Addresses[0], echoPort)
	for _, n := range l.Nodes() {
		says(t, func() (net.Conn, error) { return n.Dial(t.Context(), at) })
	}
	relay, err := l.Relay("127.0.0.1:0", l.Nodes()[1], at)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		says(t, func() (net.Conn, error) { return net.Dial("tcp", relay.String()) })
	}
	for _, listen := range []string{"0.0.0.0:0", "nonsense", "10.0.0.1:80"} {
		if _, err := l.Relay(listen, last, at); err == nil {
			t.Errorf("a relay at %s", listen)
		}
	}
	if _, err := l.Node("node-4"); err == nil {
		t.Error("there is a node too many")
	}
	again, err := New(Config{Dir: l.Dir(), Nodes: 1, Links: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Open(t.Context()); !errors.Is(err, ErrInUse) {
		t.Errorf("a second lab in the directory: %v", err)
	}
}

func TestKillAndRestart(t *testing.T) {
	l := opens(t, 1, 1)
	n := l.Nodes()[0]
	serveEcho(t, n)
	at := netip.AddrPortFrom(n.Addresses[1], echoPort)
	says(t, func() (net.Conn, error) { return n.Dial(t.Context(), at) })
	if err := n.Start("echo", "/bin/true"); err == nil {
		t.Error("a process was started twice")
	}
	err := n.Kill(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Dial(t.Context(), at); err == nil {
		t.Error("a killed process answers")
	}
	s := onDisk(t, l, func(s *State) bool { return !s.Nodes[0].Processes[0].Running })
	if p := s.Nodes[0].Processes[0]; p.Name != "echo" || p.Log != n.LogPath("echo") {
		t.Errorf("on disk it is %+v", p)
	}
	t.Setenv(echoEnv, fmt.Sprintf(":%d", echoPort))
	if err := n.Restart("echo"); err != nil {
		t.Fatal(err)
	}
	says(t, func() (net.Conn, error) { return n.Dial(t.Context(), at) })
	shell := &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", "setsid sleep 1003 >/dev/null 2>&1 &"}}
	if err := errors.Join(n.Exec(shell), shell.Wait()); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for range 6000 { // it may not be what it is to become yet
		if killed, err = n.KillMatching(func(args []string) bool { return slices.Contains(args, "1003") }); killed > 0 || err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if killed != 1 || err != nil {
		t.Errorf("killed %d, %v", killed, err)
	}
	if err := n.KillAll(t.Context()); err != nil || len(n.Processes()) > 0 {
		t.Errorf("after the power cut: %v, %v", n.Processes(), err)
	}
	ended, err := n.Ended("echo")
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := n.Restart("nobody"); err == nil {
		t.Error("what was never started is started again")
	}
}

// onDisk waits until lab.json says so.
func onDisk(t *testing.T, l *Lab, as func(*State) bool) *State {
	t.Helper()
	for range 6000 {
		s, err := Read(l.Dir())
		if err != nil {
			t.Fatal(err)
		}
		if as(s) {
			return s
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("lab.json does not say so")
	return nil
}

// TestStopKillsWhoStays has a process that does not hear SIGTERM.
func TestStopKillsWhoStays(t *testing.T) {
	l := opens(t, 1, 1)
	n := l.Nodes()[0]
	if err := n.Start("deaf", "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"); err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		if raw, _ := os.ReadFile(n.LogPath("deaf")); len(raw) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := n.Stop(ctx, "deaf"); err == nil || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("stopping it: %v", err)
	}
	ended, err := n.Ended("deaf")
	if err != nil {
		t.Fatal(err)
	}
	<-ended
}

// TestDown ends a lab that another process runs, in order and after a kill, and one that is not there.
func TestDown(t *testing.T) {
	for _, how := range []string{"alive", "killed"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			cmd := labProcess(t, dir)
			s, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			if !s.Alive() || len(s.Nodes) != 2 {
				t.Errorf("state %+v", s)
			}
			var inside []int
			for range 6000 { // one that just becomes another program has no name for a moment
				inside = nil
				for _, n := range s.Nodes {
					for _, p := range n.Place.Processes() {
						inside = append(inside, p.PID)
					}
				}
				if len(inside) == 4 {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			if len(inside) != 4 {
				t.Errorf("processes %v", inside)
			}
			node, err := s.Node("node-2")
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			exec := &exec.Cmd{Path: "/bin/hostname", Stdout: &out}
			if err := node.Start(exec, nil); err != nil {
				t.Fatal(err)
			}
			if err := exec.Wait(); err != nil || strings.TrimSpace(out.String()) != "node-2" {
				t.Errorf("it calls itself %q, %v", out.String(), err)
			}
			ended := make(chan error, 1)
			if how == "killed" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait()
				ended <- nil
			} else {
				go func() { ended <- cmd.Wait() }()
			}
			if found, err := Down(t.Context(), dir); err != nil || !found {
				t.Fatalf("found %v, %v", found, err)
			}
			if err := <-ended; err != nil {
				t.Errorf("the lab ended with %v", err)
			}
			nothingLeft(t, dir, s)
			for _, pid := range inside {
				if alive(pid) {
					t.Errorf("process %d is left", pid)
				}
			}
			if found, err := Down(t.Context(), dir); err != nil || found {
				t.Errorf("again: found %v, %v", found, err)
			}
		})
	}
}

// alive leaves out what has ended and waits for its parent to take note, which for the children of a killed lab is the
// host's init, and gives what was killed the moment that the kernel takes to end it.
func alive(pid int) bool {
	for range 6000 {
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(raw), ") Z ") {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// labProcess runs a lab in a process of its own.
func labProcess(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("nodes are root's to make")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), labEnv+"="+dir)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "up\n" {
		_ = cmd.Wait()
		if strings.Contains(complaints.String(), ErrUnsupported.Error()) {
			t.Skip(complaints.String())
		}
		t.Fatalf("the lab says %q, %v: %s", line, err, complaints.String())
	}
	return cmd
}

// TestOpenAfterAKill: a lab comes up where another was killed.
func TestOpenAfterAKill(t *testing.T) {
	dir := t.TempDir()
	cmd := labProcess(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	l, err := New(Config{Dir: dir, Nodes: 1, Links: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := l.State()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Close(t.Context()); err != nil { // again
		t.Error(err)
	}
	nothingLeft(t, dir, &s)
}

// TestOpenSweepsOthers: what a lab has left that was killed goes with the next one, wherever that has its directory.
func TestOpenSweepsOthers(t *testing.T) {
	dir := t.TempDir()
	cmd := labProcess(t, dir)
	s, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	l, err := New(Config{Dir: t.TempDir(), Nodes: 1, Links: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := func() bool {
		return slices.ContainsFunc(s.Groups, func(group string) bool { _, err := os.Stat(group); return err == nil })
	}
	for range 6000 { // the kernel ends a process thread by thread
		if !left() {
			break
		}
		time.Sleep(5 * time.Millisecond)
		l.sweepOthers()
	}
	if left() {
		t.Errorf("groups are left of %q, in which are %q", s.Groups, members(t, s.Groups))
	}
	for _, group := range l.State().Groups {
		if _, err := os.Stat(group); err != nil {
			t.Error(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// members are the processes in groups and in those right below them.
func members(t *testing.T, groups []string) (all string) {
	t.Helper()
	for _, group := range groups {
		found, err := filepath.Glob(group + "/*/cgroup.procs")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range append(found, group+"/cgroup.procs") {
			raw, _ := os.ReadFile(file) // a group that has gone has none
			all += string(raw)
		}
	}
	return all
}

func TestConfigValidate(t *testing.T) {
	for _, bad := range []Config{
		{Dir: "x", Nodes: 1, Links: 1}, {Dir: "/x", Links: 1}, {Dir: "/x", Nodes: MaxNodes + 1, Links: 1}, {Dir: "/x", Nodes: 1}, {Dir: "/x", Nodes: 1, Links: 2}, {Dir: "/x", Nodes: 40, Links: 17},
	} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is taken for valid", bad)
		}
	}
	a, b := Config{Dir: "/x/y"}, Config{Dir: "/x/z"}
	if a.group() == b.group() || a.group() != (&Config{Dir: "/x//y/"}).group() {
		t.Error("groups do not go by directory")
	}
}

func TestReadBrokenState(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Down(t.Context(), dir); err == nil {
		t.Error("a broken state is no error")
	}
}
