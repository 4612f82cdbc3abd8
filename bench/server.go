package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// server is a running program that rows compare with.
type server struct {
	address string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends it: at the end of its standard input, or, when that means nothing to it, by a signal.
func (s *server) stop() {
	s.stdin.Close()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// startServer starts a program whose first line on standard output tells its address.
func startServer(ctx context.Context, address func(line string) (string, error), path string, args ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	s := &server{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		s.address, err = address(line)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	return s, nil
}

// plainLine is the first line of our own servers: the address.
func plainLine(line string) (string, error) { return strings.TrimSpace(line), nil }

// startBaseline starts the plain net/http server, told by its arguments where and what.
func (l *lab) startBaseline(ctx context.Context, args ...string) (*server, error) {
	path, err := l.tree.Program(ctx, "./bench/baseline")
	if err != nil {
		return nil, err
	}
	return startServer(ctx, plainLine, path, args...)
}

// startWorkerd starts workerd with a hello in JavaScript, and installs it first where it is not there.
func (l *lab) startWorkerd(ctx context.Context) (*server, error) {
	peer := filepath.Join(l.tree.Root, "bench", "peer", "workerd")
	cmd := exec.CommandContext(ctx, filepath.Join(peer, "install.sh"), filepath.Join(l.tree.Bin(), "peers", "workerd"))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("install workerd: %w\n%s", err, strings.TrimSpace(said.String()))
	}
	return startServer(ctx, workerdLine, strings.TrimSpace(string(out)), "serve", "--control-fd=1", filepath.Join(peer, "hello.capnp"))
}

// workerdLine reads what workerd tells of the port that it got.
func workerdLine(line string) (string, error) {
	var event struct {
		Event string
		Port  int
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		return "", fmt.Errorf("read %q: %w", line, err)
	}
	if event.Event != "listen" || event.Port == 0 {
		return "", fmt.Errorf("read %q: no port", line)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(event.Port)), nil
}

// startWasmtime starts the peer that serves a guest with wasmtime. It is a Go module of its own and needs cgo.
func (l *lab) startWasmtime(ctx context.Context, guest string) (*server, error) {
	path := filepath.Join(l.tree.Bin(), "peers", "wasmtime")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", path, ".")
	build.Dir = filepath.Join(l.tree.Root, "bench", "peer", "wasmtime")
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unavailable: wasmtime's peer cannot be built (it needs gcc and Go's module proxy): %w\n%s", err, out)
	}
	return startServer(ctx, plainLine, path, "-module", guest)
}
