package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

const fakeVariable = "PETREL_FLEET_TEST_RUNNER"

func TestMain(m *testing.M) {
	if os.Getenv(fakeVariable) != "" {
		if err := runFake(os.Getenv(fakeVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// fake is a runner without containers, in a process of its own, that can be told to misbehave.
type fake struct {
	hub  *control.Hub
	quit chan struct{}

	mu      sync.Mutex
	conns   []net.Conn
	silent  bool
	chatty  bool
	greeted chan struct{} // while it is set, new connections are not greeted
}

// runFake is the main of the fake's process. Its mode may make it fail at once.
func runFake(mode string) error {
	if mode == "broken" {
		return fmt.Errorf("cannot start")
	}
	l, err := TakeOver(os.NewFile(ListenerFD, "listener"))
	if err != nil {
		return err
	}
	go func() { // a test that was killed must leave nothing
		time.Sleep(time.Minute)
		os.Exit(9)
	}()
	f := &fake{hub: control.NewHub(), quit: make(chan struct{})}
	hello := control.Hello{Protocol: control.ProtocolVersion, Namespace: os.Getenv("NAMESPACE"), PID: os.Getpid()}
	if mode == "foreign" {
		hello.Protocol++
	}
	go f.accept(l, hello)
	<-f.quit
	return nil
}

func (f *fake) accept(l *net.UnixListener, hello control.Hello) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns = append(f.conns, conn)
		mute := f.greeted != nil
		f.mu.Unlock()
		if !mute {
			go func() { _ = control.ServeConn(context.Background(), conn, hello, f.hub, f) }()
		}
	}
}

func (f *fake) Handle(ctx context.Context, method string, params json.RawMessage) (any, error) {
	switch method {
	case control.MethodPing:
		f.mu.Lock()
		silent := f.silent
		f.mu.Unlock()
		if silent {
			<-ctx.Done()
		}
		return control.ProcessStats{PID: os.Getpid()}, nil
	case control.MethodShutdown:
		f.mu.Lock()
		chatty := f.chatty
		f.mu.Unlock()
		if chatty {
			_ = f.hub.Publish(control.EventStatus, control.Status{ID: "x", State: control.StateExited})
		}
		time.AfterFunc(10*time.Millisecond, func() { close(f.quit) })
		return nil, nil
	case "publish":
		return nil, f.hub.Publish(control.EventStatus, control.Status{ID: "x", State: control.StateExited})
	case "publish and die":
		_ = f.hub.Publish(control.EventStatus, control.Status{ID: "last words", State: control.StateExited})
		time.AfterFunc(20*time.Millisecond, func() { os.Exit(3) })
	case "publish at the end":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.chatty = true
	case "fall silent":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.silent = true
	case "mute":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.greeted = make(chan struct{})
	case "hang up":
		time.AfterFunc(10*time.Millisecond, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, c := range f.conns {
				_ = c.Close()
			}
			f.conns = nil
		})
	}
	return nil, nil
}

func fakeCommand(mode string) func(namespace string) *exec.Cmd {
	return func(namespace string) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{fakeVariable + "=" + mode, "NAMESPACE=" + namespace}
		return cmd
	}
}
