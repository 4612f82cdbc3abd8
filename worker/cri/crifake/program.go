package crifake

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Process is what a program sees of its container.
type Process struct {
	Args           []string // command and arguments
	Env            map[string]string
	Mounts         map[string]string // container path to host path
	IP             string
	Ports          []int
	Stdout, Stderr io.Writer
	// Stop is closed when the container is asked to end; a program that ignores it is killed.
	Stop <-chan struct{}
	// Killed is closed when the container is killed; nobody waits for the program then.
	Killed <-chan struct{}
}

// Program is a container's life; what it returns is the exit code.
type Program func(p *Process) int32

func (c *container) process(out *logFile) *Process {
	p := &Process{
		Args: append(append([]string{}, c.config.GetCommand()...), c.config.GetArgs()...), Env: map[string]string{}, Mounts: map[string]string{},
		IP: c.ip, Ports: c.ports, Stdout: out.stream(runtimev1.Stdout), Stderr: out.stream(runtimev1.Stderr), Stop: c.ask, Killed: c.die,
	}
	for _, kv := range c.config.GetEnvs() {
		p.Env[kv.GetKey()] = string(kv.GetValue())
	}
	for _, m := range c.config.GetMounts() {
		p.Mounts[m.GetContainerPath()] = m.GetHostPath()
	}
	return p
}

// Task obeys its arguments, pair by pair: print, complain, env, file, sleep (ms), exit; then it ends with 0. It is the twin of
// the tests' Wasm guest of that name.
func Task(p *Process) int32 {
	for i := 0; i+1 < len(p.Args); i += 2 {
		value := p.Args[i+1]
		switch p.Args[i] {
		case "print":
			fmt.Fprintln(p.Stdout, value)
		case "complain":
			fmt.Fprintln(p.Stderr, value)
		case "env":
			fmt.Fprintf(p.Stdout, "%s=%s\n", value, p.Env[value])
		case "file":
			content, err := os.ReadFile(filepath.Join(p.Mounts[filepath.Dir(value)], filepath.Base(value)))
			fmt.Fprintf(p.Stdout, "%s %v\n", content, err)
		case "sleep":
			ms, _ := strconv.Atoi(value)
			select {
			case <-time.After(time.Duration(ms) * time.Millisecond):
			case <-p.Stop:
				return 143
			}
		case "exit":
			code, _ := strconv.Atoi(value)
			return int32(code)
		}
	}
	return 0
}

// Idle runs until it is asked to end.
func Idle(p *Process) int32 {
	<-p.Stop
	return 0
}

// Server serves HTTP on the sandbox's address and ports until it is asked to end.
func Server(handler http.Handler) Program {
	return func(p *Process) int32 {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		var serving sync.WaitGroup
		for _, port := range p.Ports {
			listener, err := net.Listen("tcp", net.JoinHostPort(p.IP, strconv.Itoa(port)))
			if err != nil {
				fmt.Fprintln(p.Stderr, err)
				return 1
			}
			serving.Go(func() { _ = server.Serve(listener) })
		}
		<-p.Stop
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		_ = server.Close()
		serving.Wait()
		return 0
	}
}
