package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

func TestLookup(t *testing.T) {
	all := map[string]int{strings.Repeat("a", 64): 1, "ab" + strings.Repeat("0", 62): 2, "abc" + strings.Repeat("0", 61): 3}
	for id, want := range map[string]int{strings.Repeat("a", 64): 1, "aa": 1, "ab0": 2, "abc": 3, "a": 0, "ab": 0, "b": 0, "": 0, strings.Repeat("a", 65): 0} {
		got, err := lookup(all, "sandbox", id)
		if got != want || (want == 0) != (status.Code(err) == codes.NotFound) {
			t.Errorf("lookup(%q) = %d, %v", id, got, err)
		}
	}
	if id := newID(); !state.ValidID(id) || id == newID() {
		t.Errorf("id %q", id)
	}
}

func TestGRPCErrors(t *testing.T) {
	for err, want := range map[error]codes.Code{
		nil:                              codes.OK,
		status.Error(codes.Aborted, "x"): codes.Aborted,
		control.Errorf(control.CodePrecondition, "x"): codes.FailedPrecondition,
		fmt.Errorf("x: %w", image.ErrReference):       codes.InvalidArgument,
		fmt.Errorf("x: %w", image.ErrUnauthorized):    codes.PermissionDenied,
		fmt.Errorf("x: %w", image.ErrNotWasm):         codes.FailedPrecondition,
		fmt.Errorf("x: %w", image.ErrUnsupported):     codes.InvalidArgument,
		fmt.Errorf("x: %w", image.ErrUnavailable):     codes.Unknown,
		fmt.Errorf("x: %w", context.DeadlineExceeded): codes.DeadlineExceeded,
		fmt.Errorf("x: %w", control.ErrClosed):        codes.Unavailable,
		fmt.Errorf("x: %w", fleet.ErrClosed):          codes.Unavailable,
		errors.New("x"):                               codes.Internal,
	} {
		if got := status.Code(grpcError(err)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// TestStaleNewsAreDropped: what a runner tells by event may arrive behind the answer to a later call.
func TestStaleNewsAreDropped(t *testing.T) {
	s := newSupervisor(t)
	c := &container{sandbox: &sandbox{}, exited: make(chan struct{}), record: state.Container{Status: control.Status{State: control.StateRunning, Revision: 5, MemoryLimit: 7}}}
	if s.apply(c, control.Status{State: control.StateRunning, Revision: 4}) || c.record.Status.MemoryLimit != 7 {
		t.Error("an older status was taken over")
	}
	if !s.apply(c, control.Status{State: control.StateRunning, Revision: 6, MemoryLimit: 8}) || c.record.Status.MemoryLimit != 8 {
		t.Error("a newer status was not")
	}
	if !s.apply(c, control.Status{State: control.StateExited, Revision: 3}) {
		t.Error("the end was not taken over")
	}
}

func newSupervisor(t *testing.T) *Supervisor {
	t.Helper()
	s, err := New(Config{Root: t.TempDir(), Socket: "/nowhere", PodCIDR: netip.MustParsePrefix("127.42.0.0/16"), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		RunnerCommand: func(string) *exec.Cmd { return nil }, Compiler: fixedCompiler{}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
