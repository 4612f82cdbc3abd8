package backend

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// envServe has this program be the runtime: it serves at the socket, with as many sandboxes as envPods says.
const (
	envServe = "BACKEND_TEST_SERVE"
	envPods  = "BACKEND_TEST_PODS"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(envServe); socket != "" {
		if err := serve(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// server is a runtime that tells one event to each who asks.
type server struct {
	runtimev1.UnimplementedRuntimeServiceServer
}

func (server) GetContainerEvents(_ *runtimev1.GetEventsRequest, stream grpc.ServerStreamingServer[runtimev1.ContainerEventResponse]) error {
	err := stream.SendHeader(nil)
	if err == nil {
		err = stream.Send(&runtimev1.ContainerEventResponse{ContainerId: fmt.Sprint(os.Getpid())})
	}
	if err == nil {
		<-stream.Context().Done()
	}
	return err
}

func (server) ListPodSandbox(context.Context, *runtimev1.ListPodSandboxRequest) (*runtimev1.ListPodSandboxResponse, error) {
	r := &runtimev1.ListPodSandboxResponse{}
	for range len(os.Getenv(envPods)) {
		r.Items = append(r.Items, &runtimev1.PodSandbox{})
	}
	return r, nil
}

func serve(socket string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	runtimev1.RegisterRuntimeServiceServer(s, server{})
	go func() {
		<-ctx.Done()
		s.Stop()
	}()
	return s.Serve(l)
}

// bench is a backend whose runtime is this program.
type bench struct {
	*Backend
	socket  string
	starts  atomic.Int32
	pods    string
	resyncs chan struct{}
	events  chan string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "bck")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{socket: filepath.Join(dir, "s"), resyncs: make(chan struct{}, 64), events: make(chan string, 64)}
	b.Backend, err = New(Config{Socket: b.socket, Logger: slog.New(slog.DiscardHandler),
		Command: func() *exec.Cmd {
			b.starts.Add(1)
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), envServe+"="+b.socket, envPods+"="+b.pods)
			return cmd
		},
		Resync: func(context.Context) error { b.resyncs <- struct{}{}; return nil },
		Follow: func(e *runtimev1.ContainerEventResponse) { b.events <- e.ContainerId },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.child != nil { // what still runs has pods: they are gone with the test
			if pid, err := b.serving(); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			<-b.child
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return b
}

// serving is the process behind the socket.
func (b *bench) serving() (int, error) {
	conn, err := net.Dial("unix", b.socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	pid := 0
	cerr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if cerr != nil {
		return 0, cerr
	}
	return pid, err
}

// TestRun: the runtime is started when it is needed and when it was killed, and everything is asked each time.
func TestRun(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { b.Run(ctx); close(ended) }()
	for i := range 3 {
		<-b.resyncs
		pid, err := b.serving()
		if err != nil {
			t.Fatal(err)
		}
		if told := <-b.events; told != fmt.Sprint(pid) {
			t.Errorf("events come from %s, want %d", told, pid)
		}
		if got := int(b.starts.Load()); got != i+1 {
			t.Errorf("it was started %d times, want %d", got, i+1)
		}
		if i < 2 {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	<-ended
}

// TestEnsure: one that serves already is used, whoever started it, and ended when nobody needs it.
func TestEnsure(t *testing.T) {
	first := newBench(t)
	if err := first.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := newBench(t)
	second.cfg.Socket = first.socket
	conn, err := Dial(first.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	second.RuntimeServiceClient = runtimev1.NewRuntimeServiceClient(conn)
	if err := second.Ensure(t.Context()); err != nil || second.starts.Load() != 0 {
		t.Errorf("started %d times, %v", second.starts.Load(), err)
	}
	if ended, err := second.End(t.Context()); !ended || err != nil {
		t.Errorf("ended %v, %v", ended, err)
	}
	<-first.child
	if ended, err := second.End(t.Context()); !ended || err != nil {
		t.Errorf("once more: %v, %v", ended, err)
	}
}

// TestEndSparesPods: a runtime with sandboxes goes on.
func TestEndSparesPods(t *testing.T) {
	b := newBench(t)
	b.pods = "x"
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ended, err := b.End(t.Context()); ended || err != nil {
		t.Errorf("ended %v, %v", ended, err)
	}
	if _, err := b.serving(); err != nil {
		t.Error(err)
	}
}

// TestCannotStart: the error comes back, and a runtime that ends at once is not started in a loop without a pause.
func TestCannotStart(t *testing.T) {
	b := newBench(t)
	b.cfg.Command = func() *exec.Cmd { return exec.Command("/none/here") }
	if err := b.Ensure(t.Context()); err == nil {
		t.Error("nothing serves")
	}
	var starts atomic.Int32
	b.cfg.Command = func() *exec.Cmd { starts.Add(1); return exec.Command("/bin/false") }
	ctx, cancel := context.WithTimeout(t.Context(), restartPause/2)
	defer cancel()
	if err := b.Ensure(ctx); err == nil || starts.Load() != 1 {
		t.Errorf("started %d times, %v", starts.Load(), err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("nothing is enough")
	}
	<-b.child
}
