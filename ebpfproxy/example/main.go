package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/petrelrun/petrel/ebpfproxy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var services services
	flags := flag.NewFlagSet("example", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Var(&services, "service", "ADDRESS:PORT=BACKEND,BACKEND…, all IP:PORT, over TCP; may be given several times")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() == 0 {
		fmt.Fprintln(stderr, "example: name a command to run")
		return 2
	}
	if err := serve(ctx, services, flags.Args(), stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "example:", err)
		return 1
	}
	return 0
}

// serve runs command in a cgroup whose sockets see the services.
func serve(ctx context.Context, services services, command []string, stdout, stderr io.Writer) (err error) {
	cgroup, err := makeCgroup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeCgroup(cgroup)) }()

	proxy, err := ebpfproxy.New(ebpfproxy.Config{CgroupPath: cgroup})
	if err != nil {
		return err
	}
	if err := proxy.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, proxy.Remove()) }()
	if err := proxy.Sync(ctx, services); err != nil {
		return err
	}

	if err := runIn(ctx, cgroup, command, stdout, stderr); err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	for _, s := range proxy.Stats() {
		fmt.Fprintf(stderr, "%s: %d connections, %d refused\n", s.Frontend, s.Connections, s.Refused)
		for _, b := range s.Backends {
			fmt.Fprintf(stderr, "  %s: %d connections\n", b.Addr, b.Connections)
		}
	}
	return nil
}

func runIn(ctx context.Context, cgroup string, command []string, stdout, stderr io.Writer) error {
	dir, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return cmd.Run()
}

// makeCgroup makes a group below the root of the cgroup2 file system, wherever this machine has it.
func makeCgroup() (string, error) {
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		root = "/sys/fs/cgroup"
	}
	cgroup := filepath.Join(root, fmt.Sprint("ebpfproxy-example-", os.Getpid()))
	return cgroup, os.Mkdir(cgroup, 0o755)
}

// removeCgroup waits for processes that the command left to end: a group with processes cannot be removed.
func removeCgroup(cgroup string) (err error) {
	for range 50 {
		if err = os.Remove(cgroup); !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%w: the command left processes behind", err)
}

// services is the flag's value.
type services []ebpfproxy.Service

func (s *services) String() string { return "" }

func (s *services) Set(text string) error {
	front, backends, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("want ADDRESS:PORT=BACKEND,BACKEND…")
	}
	at, err := netip.ParseAddrPort(front)
	if err != nil {
		return err
	}
	service := ebpfproxy.Service{
		Name:     front,
		Frontend: ebpfproxy.Frontend{Addr: at.Addr(), Port: at.Port(), Protocol: ebpfproxy.TCP},
	}
	for text := range strings.SplitSeq(backends, ",") {
		if text == "" {
			continue // a service without backends refuses its clients
		}
		b, err := netip.ParseAddrPort(text)
		if err != nil {
			return err
		}
		service.Backends = append(service.Backends, ebpfproxy.Backend{Addr: b.Addr(), Port: b.Port(), Name: text})
	}
	*s = append(*s, service)
	return nil
}
