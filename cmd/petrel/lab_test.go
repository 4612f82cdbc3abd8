package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/lab"
)

func TestMain(m *testing.M) {
	lab.Init()
	os.Exit(m.Run())
}

// petrel runs a command line and answers what it prints and its exit code.
func petrel(args ...string) (stdout, stderr string, code int) {
	var out, complaints bytes.Buffer
	code = run(args, strings.NewReader("what is typed\n"), &out, &complaints)
	return out.String(), complaints.String(), code
}

// opensLab opens a lab of two nodes without a cluster.
func opensLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(lab.Config{Dir: t.TempDir(), Nodes: 2, Links: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Open(t.Context()); errors.Is(err, lab.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestLabExec(t *testing.T) {
	l := opensLab(t)
	for _, c := range []struct {
		args           []string
		stdout, stderr string
		code           int
	}{
		{[]string{"node-2", "--", "sh", "-c", "hostname; cat; echo no >&2; exit 3"}, "node-2\nwhat is typed\n", "no\n", 3},
		{[]string{"router", "--", "sh", "-c", "ls /sys/class/net | wc -l; kill -9 $$"}, "", "", 137},
		{[]string{"node-1", "--", "true"}, "", "", 0},
		{[]string{"node-9", "--", "true"}, "", "petrel: run true on node-9: no node \"node-9\" in this lab\n", 1},
		{[]string{"node-1", "--", "no-such-command"}, "", "executable file not found", 1},
		{[]string{"node-1"}, "", "requires at least 2 arg", 2},
	} {
		stdout, stderr, code := petrel(append([]string{"lab", "exec", "--data-dir", l.Dir()}, c.args...)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v: %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	stdout, stderr, code := petrel("lab", "exec", "-o", "json", "--data-dir", l.Dir(), "node-1", "--", "sh", "-c", "echo a; echo b >&2; exit 4")
	var got struct {
		Node, Stdout, Stderr string
		ExitCode             int
		Truncated            bool
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 4 || got.Node != "node-1" || got.Stdout != "a\n" || got.Stderr != "b\n" || got.ExitCode != 4 || got.Truncated {
		t.Errorf("%d %s %s %v", code, stdout, stderr, err)
	}
}

func TestLabStatus(t *testing.T) {
	l := opensLab(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Nodes()[1].Start("sleeper", sleep, "1000"); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := petrel("lab", "status", "-o", "json", "--data-dir", l.Dir())
	var got labStatus
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("%d %s %s %v", code, stdout, stderr, err)
	}
	if !got.Running || len(got.Nodes) != 2 || got.Nodes[1].Count != 1 || len(got.Nodes[1].Processes) != 1 || !got.Nodes[1].Processes[0].Running {
		t.Errorf("status %+v", got)
	}
	stdout, _, _ = petrel("lab", "status", "--data-dir", l.Dir())
	if want := fmt.Sprintf("sleeper %d", got.Nodes[1].Processes[0].PID); !strings.Contains(stdout, want) || !strings.Contains(stdout, "node-1  1     10.40.1.11,fd00:40:0:1::b") {
		t.Errorf("status\n%s", stdout)
	}
	if _, stderr, code := petrel("lab", "up", "--nodes", "1", "--data-dir", l.Dir()); code != 1 || !strings.Contains(stderr, "a lab is running there") {
		t.Errorf("a second lab in the directory: %d %s", code, stderr)
	}
	if _, stderr, code := petrel("lab", "down", "--data-dir", l.Dir()); code != 1 || !strings.Contains(stderr, "this process's own") {
		t.Errorf("a lab ends the process that it is in: %d %s", code, stderr)
	}
}

func TestLabThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"status"}, {"exec", "node-1", "--", "true"}} {
		if _, stderr, code := petrel(append([]string{"lab"}, append([]string{"--data-dir", dir}, args...)...)...); code == 0 {
			t.Errorf("%v: %s", args, stderr)
		}
		if _, stderr, code := petrel(append([]string{"lab", args[0], "--data-dir", dir, "-o", "json"}, args[1:]...)...); code != 1 || !strings.Contains(stderr, `"code":"failed"`) || !strings.Contains(stderr, "petrel lab up makes one") {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	}
	if stdout, _, code := petrel("lab", "down", "--data-dir", dir); code != 0 || stdout != "no lab in "+dir+"\n" {
		t.Errorf("down: %d %s", code, stdout)
	}
	for _, args := range [][]string{
		{"up", "--nodes", "0"}, {"up", "--links", "9"}, {"up", "--listen", "0.0.0.0:6443"}, {"status", "-o", "xml"},
	} {
		if stdout, _, code := petrel(append([]string{"lab", args[0], "--data-dir", dir}, args[1:]...)...); code == 0 {
			t.Errorf("%v: %s", args, stdout)
		}
	}
}

func TestLimited(t *testing.T) {
	var l limited
	for range 5 {
		if n, err := l.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
			t.Fatal(n, err)
		}
	}
	if l.Len() != execOutput || !l.cut {
		t.Errorf("kept %d, cut %v", l.Len(), l.cut)
	}
}
