package resource

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/store"
)

// shared is one store for all tests of the package: starting etcd is what costs, and each test has its own namespace.
var shared *Registry

func TestMain(m *testing.M) {
	code := run(m)
	if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "petrel-resource-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, stop := startStore(ctx, dir)
	defer stop()
	if shared, err = New(Config{Store: s, Logger: quiet}); err != nil {
		panic(err)
	}
	if err := shared.Bootstrap(ctx, netip.MustParseAddrPort("127.0.0.1:8080")); err != nil {
		panic(err)
	}
	return m.Run()
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func startStore(ctx context.Context, dir string) (*store.Store, func()) {
	s, err := store.New(store.Config{Dir: dir, Resources: Stored(), Logger: quiet})
	if err != nil {
		panic(err)
	}
	if err := s.Start(ctx); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	return s, func() {
		cancel()
		<-done
		_ = s.Close()
	}
}

// space makes a namespace of the test's own.
func space(t *testing.T) string {
	t.Helper()
	ns, err := shared.Client("test").Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}})
	if err != nil {
		t.Fatal(err)
	}
	return ns.GetName()
}

func create[T api.Object](t *testing.T, obj T) T {
	t.Helper()
	out, err := shared.Client("test").Create(t.Context(), obj)
	if err != nil {
		t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
	}
	return out.(T)
}
