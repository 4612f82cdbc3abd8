package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientEnv makes the test binary a client that prints what it reads from an address.
const clientEnv = "EXAMPLE_TEST_CONNECT"

func TestMain(m *testing.M) {
	if addr := os.Getenv(clientEnv); addr != "" {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			fmt.Println(err)
			os.Exit(0)
		}
		io.Copy(os.Stdout, c)
		fmt.Println("from", c.RemoteAddr())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestExample(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: cgroups and bpf")
	}
	program := filepath.Join(t.TempDir(), "example")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	backend := greet(t)
	for _, tt := range []struct{ name, to, out, counted string }{
		{"a service", "10.96.0.1:80", "hello\nfrom 10.96.0.1:80\n", backend + ": 1 connections"},
		{"one without backends", "10.96.0.2:80", "dial tcp 10.96.0.2:80: connect: connection refused\n", "0 connections, 1 refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(program, "-service", "10.96.0.1:80="+backend, "-service", "10.96.0.2:80=", "--", os.Args[0])
			cmd.Env = append(os.Environ(), clientEnv+"="+tt.to)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			if stdout.String() != tt.out || !strings.Contains(stderr.String(), tt.counted) {
				t.Errorf("out %q, want %q; counted %q, want %q in it", stdout.String(), tt.out, stderr.String(), tt.counted)
			}
			if left, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/ebpfproxy-example-%d", cmd.Process.Pid)); len(left) > 0 {
				t.Errorf("cgroups stay behind: %v", left)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"-service", "x", "--", "true"}, {"-service", "x=1.2.3.4:5", "--", "true"}, {"-service", "1.2.3.4:5=x", "--", "true"}} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, io.Discard, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit %d, %q", args, code, stderr.String())
		}
	}
}

// greet is a server on the loopback interface that says hello.
func greet(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "hello")
			c.Close()
		}
	}()
	return l.Addr().String()
}
