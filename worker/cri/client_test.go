package cri_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/cri/crifake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, cfg cri.Config) *cri.Client {
	t.Helper()
	client, err := cri.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestWaitsForTheRuntimeAndReconnects(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	client := newClient(t, cri.Config{Endpoint: "unix://" + socket})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()

	short, cancelShort := context.WithTimeout(ctx, 250*time.Millisecond)
	defer cancelShort()
	if err := client.WaitReady(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting for no runtime = %v, want the deadline", err)
	}
	if _, err := client.ListContainers(ctx, nil); !cri.IsUnavailable(err) || !strings.Contains(err.Error(), "not reachable") {
		t.Fatalf("call without a runtime = %v, want unavailable", err)
	}
	fake := crifake.New()
	for range 2 { // the second round is a restarted runtime
		if err := fake.Serve(socket); err != nil {
			t.Fatal(err)
		}
		if err := client.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ListContainers(ctx, nil); err != nil {
			t.Fatal(err)
		}
		fake.Hang()
	}
	fake.Close()
}

func TestErrorsAreKnownByTheirKind(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	fake := crifake.New()
	if err := fake.Serve(socket); err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	var observed atomic.Int32
	client := newClient(t, cri.Config{Endpoint: socket, Observe: func(method string, _ time.Duration, err error) {
		if method == "ContainerStatus" && err != nil {
			observed.Add(1)
		}
	}})
	if _, _, err := client.ContainerStatus(t.Context(), "none", false); !cri.IsNotFound(err) {
		t.Errorf("unknown container: %v, want not found", err)
	}
	if observed.Load() != 1 {
		t.Errorf("observed %d failed calls, want 1", observed.Load())
	}
	fake.Fail("ListContainers", status.Error(codes.Internal, "disk on fire"))
	_, err := client.ListContainers(t.Context(), nil)
	if err == nil || err.Error() != "list containers: disk on fire" || cri.IsUnavailable(err) {
		t.Errorf("error = %v, want the runtime's own words", err)
	}
	fake.WithoutEvents()
	if err := client.Events(t.Context(), func() {}, func(*runtimev1.ContainerEventResponse) {}); !cri.IsUnimplemented(err) {
		t.Errorf("events = %v, want unimplemented", err)
	}
}

func TestStopOutlivesItsGraceOnlyByTheSlack(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	fake := crifake.New()
	if err := fake.Serve(socket); err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	client := newClient(t, cri.Config{Endpoint: socket})
	fake.Delay("StopContainer", time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.StopContainer(ctx, "any", time.Minute); cri.Code(err) != codes.DeadlineExceeded {
		t.Errorf("stop under a shorter deadline = %v, want the deadline", err)
	}
}

func TestConfigNeedsAnAbsolutePath(t *testing.T) {
	for _, endpoint := range []string{"", "cri.sock", "tcp://127.0.0.1:1"} {
		if _, err := cri.New(cri.Config{Endpoint: endpoint}); err == nil {
			t.Errorf("endpoint %q was accepted", endpoint)
		}
	}
}
