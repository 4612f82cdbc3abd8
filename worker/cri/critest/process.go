package critest

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

var processTests = map[string]func(*suite){
	"CommandAndDirectory": testCommandAndDirectory,
	"TermIsHeard":         testTermIsHeard,
	"TermIsIgnored":       testTermIsIgnored,
	"OutOfMemory":         testOutOfMemory,
	"MemoryLimit":         testMemoryLimit,
	"Terminal":            testTerminal,
	"ExecSync":            testExecSync,
	"ExecTimeout":         testExecTimeout,
	"ExecLargeOutput":     testExecLargeOutput,
	"ExecRefusals":        testExecRefusals,
	"SharedLocalhost":     testSharedLocalhost,
	"Resolver":            testResolver,
	"HostNetwork":         testHostNetwork,
	"Ports":               testPodsReachEachOther,
}

// shellConfig is a container that runs a script.
func (s *suite) shellConfig(p *pod, name, script string) *runtimev1.ContainerConfig {
	c := s.containerConfig(p, s.ShellImage, name, sequence.Add(1))
	c.Command = []string{"/bin/sh", "-c", script}
	return c
}

// begin starts a container of a configuration.
func (s *suite) begin(p *pod, c *runtimev1.ContainerConfig) string {
	s.Helper()
	s.present(c.GetImage().GetImage())
	id, err := s.Client.CreateContainer(s.ctx, p.id, c, p.config)
	s.must(err)
	s.must(s.Client.StartContainer(s.ctx, id))
	return id
}

// shell runs a script to its end and answers what it wrote and its exit code.
func (s *suite) shell(p *pod, script string, change func(*runtimev1.ContainerConfig)) (string, int32) {
	s.Helper()
	c := s.shellConfig(p, "shell", script)
	if change != nil {
		change(c)
	}
	code := s.exited(s.begin(p, c)).GetExitCode()
	var out []string
	for _, line := range s.settledLog(p, c.GetLogPath()) {
		_, text, _ := strings.Cut(line, " ")
		out = append(out, text)
	}
	return strings.Join(out, "\n"), code
}

// logRest is how long a log has to stay as it is, and logWait how long there may be nothing in it, after its container has
// ended: a runtime may tell of the end before it has written the last of the log.
const (
	logRest = 500 * time.Millisecond
	logWait = 5 * time.Second
)

func (s *suite) settledLog(p *pod, path string) []string {
	s.Helper()
	begun := time.Now()
	changed, lines := begun, s.logLines(p, path)
	for time.Since(changed) < logRest || len(lines) == 0 && time.Since(begun) < logWait {
		time.Sleep(20 * time.Millisecond)
		if now := s.logLines(p, path); len(now) != len(lines) {
			changed, lines = time.Now(), now
		}
	}
	return lines
}

// idle is a container that waits until it is asked to end.
const idle = "trap 'exit 0' TERM; sleep 600 & wait"

func (s *suite) exec(id string, command ...string) cri.ExecResult {
	s.Helper()
	r, err := s.Client.ExecSync(s.ctx, id, command, patience)
	s.must(err)
	return r
}

func (s *suite) matches(what, got, want string) {
	s.Helper()
	if !regexp.MustCompile(`(?s)^` + want + `$`).MatchString(got) {
		s.Errorf("%s: %q, want %q", what, got, want)
	}
}

func testCommandAndDirectory(s *suite) {
	p := s.sandbox()
	got, code := s.shell(p, "", func(c *runtimev1.ContainerConfig) {
		c.Command, c.Args = []string{"/bin/sh"}, []string{"-c", `pwd; echo "$0 $1"; exit 7`, "zero", "one two"}
		c.WorkingDir = "/made/by/the/runtime"
	})
	if got != "/made/by/the/runtime\nzero one two" || code != 7 {
		s.Errorf("wrote %q, exit code %d", got, code)
	}
	s.present(s.ShellImage)
	missing := s.shellConfig(p, "missing", "")
	missing.Command = []string{"/no/such/program"}
	id, err := s.Client.CreateContainer(s.ctx, p.id, missing, p.config)
	if err == nil {
		err = s.Client.StartContainer(s.ctx, id)
	}
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		s.Errorf("a program that is not there: %v", err)
	}
}

func testTermIsHeard(s *suite) {
	p := s.sandbox()
	c := s.shellConfig(p, "main", "trap 'echo heard; exit 5' TERM; echo ready; sleep 600 & wait")
	id := s.begin(p, c)
	s.eventually("its trap", func() bool { return strings.Contains(strings.Join(s.logLines(p, c.GetLogPath()), " "), "ready") })
	begun := time.Now()
	s.must(s.Client.StopContainer(s.ctx, id, patience))
	if took := time.Since(begun); took > patience/2 {
		s.Errorf("stopping took %s", took)
	}
	if code := s.status(id).GetExitCode(); code != 5 {
		s.Errorf("exit code %d, want what the program answered", code)
	}
}

func testTermIsIgnored(s *suite) {
	p := s.sandbox()
	c := s.shellConfig(p, "main", "trap '' TERM; echo ready; sleep 600")
	id := s.begin(p, c)
	s.eventually("its trap", func() bool { return strings.Contains(strings.Join(s.logLines(p, c.GetLogPath()), " "), "ready") })
	begun := time.Now()
	s.must(s.Client.StopContainer(s.ctx, id, 2*time.Second))
	if took := time.Since(begun); took < 2*time.Second || took > patience/2 {
		s.Errorf("stopping took %s, want its grace of 2s and little more", took)
	}
	if code := s.status(id).GetExitCode(); code != 137 {
		s.Errorf("exit code %d, want 137", code)
	}
}

// outOfMemoryTries is how often a container may be out of memory before its runtime has to have heard of it once: it hears
// of the shortage by another way than of the end, and listens only from some moment after the start.
const outOfMemoryTries = 3

func testOutOfMemory(s *suite) {
	p := s.sandbox()
	for i := range outOfMemoryTries {
		// The shell is there before the program that is killed, and outlives it.
		c := s.shellConfig(p, fmt.Sprint("main-", i), fmt.Sprintf("sleep %d; dd if=/dev/zero of=/dev/null bs=200M count=1; code=$?; sleep 3; exit $code", 1+4*i))
		c.Linux.Resources.MemoryLimitInBytes = 20 << 20
		status := s.exited(s.begin(p, c))
		if status.GetExitCode() != 137 {
			s.Errorf("exit code %d, want 137", status.GetExitCode())
		}
		if status.GetReason() == "OOMKilled" {
			return
		}
		s.Logf("ended as %q with exit code 137", status.GetReason())
	}
	s.Errorf("%d times out of memory, and never told", outOfMemoryTries)
}

// testMemoryLimit changes a running container's limit.
func testMemoryLimit(s *suite) {
	p := s.sandbox()
	c := s.shellConfig(p, "main", idle)
	c.Linux.Resources.MemoryLimitInBytes = 64 << 20
	id := s.begin(p, c)
	const limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
	s.matches("limit", string(s.exec(id, "/bin/sh", "-c", limit).Stdout), "67108864\n")
	_, err := s.rt.UpdateContainerResources(s.ctx, &runtimev1.UpdateContainerResourcesRequest{ContainerId: id, Linux: &runtimev1.LinuxContainerResources{MemoryLimitInBytes: 96 << 20}})
	s.must(err)
	s.matches("limit after its change", string(s.exec(id, "/bin/sh", "-c", limit).Stdout), "100663296\n")
}

func testTerminal(s *suite) {
	p := s.sandbox()
	got, _ := s.shell(p, "test -t 0 && test -t 1 && echo terminal", func(c *runtimev1.ContainerConfig) { c.Tty, c.Stdin = true, true })
	s.matches("with a terminal", got, "terminal\r?")
	got, _ = s.shell(p, "test -t 0 || test -t 1 || echo none; cat; echo ended", nil)
	s.matches("without one", got, "none\nended")
}

func testExecSync(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	r := s.exec(id, "/bin/sh", "-c", "echo out; echo err >&2; echo $GREETING; exit 9")
	if string(r.Stdout) != "out\nhéllo = world\n" || string(r.Stderr) != "err\n" || r.ExitCode != 9 {
		s.Errorf("stdout %q, stderr %q, exit code %d", r.Stdout, r.Stderr, r.ExitCode)
	}
	var wg sync.WaitGroup
	for range 8 { // at the same time
		wg.Go(func() {
			if r, err := s.Client.ExecSync(s.ctx, id, []string{"echo", "one"}, patience); err != nil || string(r.Stdout) != "one\n" {
				s.Errorf("one of several: %q, %v", r.Stdout, err)
			}
		})
	}
	wg.Wait()
}

func testExecTimeout(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	begun := time.Now()
	if _, err := s.Client.ExecSync(s.ctx, id, []string{"sleep", "500"}, time.Second); err == nil {
		s.Error("a command that takes too long: no error")
	}
	if took := time.Since(begun); took > patience/2 {
		s.Errorf("it took %s", took)
	}
	s.eventually("the command's end", func() bool {
		return !strings.Contains(string(s.exec(id, "ps").Stdout), "sleep 500")
	})
}

func testExecLargeOutput(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	if got := len(s.exec(id, "/bin/sh", "-c", "dd if=/dev/zero bs=1024 count=1024 2>/dev/null | tr '\\0' x").Stdout); got != 1<<20 {
		s.Errorf("%d bytes came of a mebibyte", got)
	}
}

func testExecRefusals(s *suite) {
	p := s.sandbox()
	s.present(s.ShellImage)
	created, err := s.Client.CreateContainer(s.ctx, p.id, s.shellConfig(p, "created", idle), p.config)
	s.must(err)
	ended := s.begin(p, s.shellConfig(p, "ended", "true"))
	s.exited(ended)
	running := s.begin(p, s.shellConfig(p, "main", idle))
	for name, id := range map[string]string{"created": created, "ended": ended, "unknown": "no-such-container"} {
		if _, err := s.Client.ExecSync(s.ctx, id, []string{"true"}, time.Second); err == nil {
			s.Errorf("in one that is %s: no error", name)
		}
	}
	if r, err := s.Client.ExecSync(s.ctx, running, []string{"/no/such/program"}, time.Second); err == nil && r.ExitCode == 0 {
		s.Error("a program that is not there: no error")
	}
}

// testSharedLocalhost: containers of a pod share its network.
func testSharedLocalhost(s *suite) {
	p := s.sandbox(8642)
	s.start(p, s.ServerImage, "web", 0)
	s.answers(p)
	got, code := s.shell(p, "wget -q -O - http://127.0.0.1:8642/ >/dev/null && echo reached", nil)
	if got != "reached" || code != 0 {
		s.Errorf("wrote %q, exit code %d", got, code)
	}
}

func testPodsReachEachOther(s *suite) {
	server := s.sandbox(8642)
	s.start(server, s.ServerImage, "web", 0)
	s.answers(server)
	if got, _ := s.shell(s.sandbox(), "wget -q -O - http://"+server.ip+":8642/ >/dev/null && echo reached", nil); got != "reached" {
		s.Errorf("from another pod: %q", got)
	}
	own, _ := s.shell(server, "ip -4 -o addr show scope global", nil)
	if !strings.Contains(own, server.ip) {
		s.Errorf("its own address %s is not among %q", server.ip, own)
	}
}

func testResolver(s *suite) {
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.DnsConfig = &runtimev1.DNSConfig{Servers: []string{"192.0.2.53"}, Searches: []string{"a.test", "b.test"}, Options: []string{"ndots:5"}}
	})
	got, _ := s.shell(p, "cat /etc/resolv.conf; hostname", nil)
	s.matches("resolv.conf and host name", got, "search a.test b.test\nnameserver 192.0.2.53\noptions ndots:5\n+"+p.config.GetHostname())
}

func testHostNetwork(s *suite) {
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.Hostname = ""
		c.Linux.SecurityContext.NamespaceOptions.Network = runtimev1.NamespaceMode_NODE
	})
	host := func(c *runtimev1.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Network = runtimev1.NamespaceMode_NODE
	}
	nodes, _ := s.shell(p, "readlink /proc/self/ns/net", host)
	pods, _ := s.shell(s.sandbox(), "readlink /proc/self/ns/net", nil)
	if nodes == pods || !strings.HasPrefix(nodes, "net:") {
		s.Errorf("on the host's network in %q, on a pod's in %q", nodes, pods)
	}
	again, _ := s.shell(p, "readlink /proc/self/ns/net", host)
	if again != nodes {
		s.Errorf("two containers on the host's network are in %q and %q", nodes, again)
	}
}
