package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Environment that makes the test's own binary something else: a server that gives back what it gets, or a lab.
const (
	echoEnv = "PETREL_TEST_ECHO"
	labEnv  = "PETREL_TEST_LAB"
)

func TestMain(m *testing.M) {
	Init()
	if at := os.Getenv(echoEnv); at != "" {
		fmt.Fprintln(os.Stderr, echo(at))
		os.Exit(1)
	}
	if dir := os.Getenv(labEnv); dir != "" {
		if err := beLab(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func echo(at string) error {
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// beLab is a lab in a process of its own, until SIGTERM.
func beLab(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := New(Config{Dir: dir, Nodes: 2, Links: 1})
	if err != nil {
		return err
	}
	if err := l.Open(ctx); err != nil {
		return err
	}
	for _, n := range l.Nodes() {
		// The shell leaves a process of a session of its own behind, as the runtime does its runners.
		if err := n.Start("sleeper", "/bin/sh", "-c", "setsid sleep 1001 & exec sleep 1002"); err != nil {
			return err
		}
	}
	for _, n := range l.Nodes() {
		for len(n.Processes()) < 2 {
			time.Sleep(time.Millisecond)
		}
	}
	fmt.Println("up")
	<-ctx.Done()
	return l.Close(context.Background())
}
