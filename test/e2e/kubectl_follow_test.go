package e2e

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// follower is a command whose output is read while it runs.
type follower struct {
	w     *world
	lines chan string
	end   func() error
}

// follow starts a command and reads its lines as they come.
func (w *world) follow(cmd *exec.Cmd) *follower {
	w.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	f := &follower{w: w, lines: make(chan string, 1024), end: cmd.Wait}
	go func() {
		defer close(f.lines)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			f.lines <- scanner.Text()
		}
	}()
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	})
	return f
}

// sees reads on until a line matches and answers it.
func (f *follower) sees(expression string) string {
	f.w.Helper()
	want := regexp.MustCompile(expression)
	ctx, cancel := context.WithTimeout(f.w.Context(), patience)
	defer cancel()
	var passed []string
	for {
		select {
		case line, open := <-f.lines:
			if !open {
				f.w.Fatalf("the output ended before a line matched %q:\n%s", expression, strings.Join(passed, "\n"))
			}
			if want.MatchString(line) {
				return line
			}
			passed = append(passed, line)
		case <-ctx.Done():
			f.w.Fatalf("no line matched %q in %s:\n%s", expression, patience, strings.Join(passed, "\n"))
		}
	}
}

// ends waits until the output is over and answers how the command ended.
func (f *follower) ends() error {
	f.w.Helper()
	late := time.After(patience)
	for {
		select {
		case _, open := <-f.lines:
			if !open {
				return f.end()
			}
		case <-late:
			f.w.Fatalf("the command did not end in %s", patience)
		}
	}
}

// TestLogs reads logs of servers and of jobs: whole, tailed, followed, and after the end.
func TestLogs(t *testing.T) {
	w := newWorld(t)
	w.apply(server)
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	url := podURL(w, "server")
	for _, line := range []string{"alpha", "beta", "gamma"} {
		w.get(url+"log?line="+line, 204)
	}
	w.comes(`^err gamma$`, "logs", "server")
	matches(t, w.kubectl("logs", "server"), `^out alpha$`, `^err alpha$`, `^out gamma$`)
	equal(t, "--tail=1", count(w, "logs", "server", "--tail=1"), 1)
	matches(t, w.kubectl("logs", "server", "--timestamps", "--tail=2"), `^\d{4}-\d\d-\d\dT\S+ (out|err) gamma$`)
	matches(t, w.kubectl("logs", "-l", "app=server", "--prefix"), `^\[pod/server/server\] out alpha$`)

	f := w.follow(w.k.Command(t.Context(), "logs", "-f", "server", "--tail=1"))
	f.sees("gamma")
	w.get(url+"log?line=delta", 204)
	f.sees("^out delta$")
	w.kubectl("delete", "pod", "server")
	if err := f.ends(); err != nil {
		t.Errorf("logs -f of a pod that ended: %v", err)
	}

	w.kubectlIn(w.fill(counter), "create", "-f", "-")
	w.comes(` (Running|Completed) `, "get", "pods", "-l", "job-name=counter")
	f = w.follow(w.k.Command(t.Context(), "logs", "-f", "job/counter"))
	f.sees("^line 0$")
	f.sees("^line 19$")
	if err := f.ends(); err != nil {
		t.Errorf("logs -f of a job that ended: %v", err)
	}
	equal(t, "lines after the end", count(w, "logs", "job/counter"), 20)
	contains(t, w.kubectlFails("logs", "absent"), "not found")
}

const counter = `
apiVersion: batch/v1
kind: Job
metadata: {name: counter}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: $TASK, args: [count, "20"]}
`

// anchor is a pod that nobody schedules.
const anchor = `
apiVersion: v1
kind: Pod
metadata: {name: anchor}
spec:
  schedulerName: nobody
  containers: [{name: main, image: nothing}]
`

// TestWatch watches by kubectl get -w.
func TestWatch(t *testing.T) {
	w := newWorld(t)
	w.apply(settings)
	f := w.follow(w.k.Command(t.Context(), "get", "configmaps", "-w", "--output-watch-events"))
	f.sees(`^ADDED +settings +2 `)
	w.kubectl("create", "configmap", "second", "--from-literal=a=1")
	f.sees(`^ADDED +second +1 `)
	w.kubectl("patch", "configmap", "second", "-p", `{"data":{"b":"2"}}`)
	f.sees(`^MODIFIED +second +2 `)
	w.kubectl("delete", "configmap", "second")
	f.sees(`^DELETED +second +2 `)

	w.kubectlIn(anchor, "create", "-f", "-")
	pods := w.follow(w.k.Command(t.Context(), "get", "pods", "-w"))
	pods.sees(`^anchor +0/1 +Pending `) // from now on it watches
	w.apply(server)
	pods.sees(`^server +0/1 +Pending `)
	pods.sees(`^server +1/1 +Running `)
	w.kubectl("delete", "pod", "server", "--wait=false")
	pods.sees(`^server +\d/1 +(Terminating|Completed) `)
}

// TestWait waits by kubectl for things to be, to become and to be gone.
func TestWait(t *testing.T) {
	w := newWorld(t)
	contains(t, w.kubectlFails("wait", "pod/server", "--for=condition=Ready", "--timeout=1s"), "not found")
	done := w.follow(w.k.Command(t.Context(), "wait", "pod/server", "--for=create", "--timeout=150s"))
	w.apply(server)
	if err := done.ends(); err != nil {
		t.Errorf("wait --for=create: %v", err)
	}
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	w.kubectl("wait", "pod/server", "--for=jsonpath={.status.phase}=Running", "--timeout=150s")
	contains(t, w.kubectlFails("wait", "pod/server", "--for=condition=Ready=false", "--timeout=1s"), "timed out")
	gone := w.follow(w.k.Command(t.Context(), "wait", "pod/server", "--for=delete", "--timeout=150s"))
	w.kubectl("delete", "pod", "server", "--wait=false")
	if err := gone.ends(); err != nil {
		t.Errorf("wait --for=delete: %v", err)
	}
}
