package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

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
