package store_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

// socketsDirEnv makes the test binary open a store in the directory it names and tell the process's sockets.
const socketsDirEnv = "STORE_TEST_SOCKETS_DIR"

// TestNoSockets opens an embedded store in a process of its own, and without privileges if there are any to drop: it
// must work, and not one socket may be open.
func TestNoSockets(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "petrel-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, state := filepath.Join(dir, "program"), filepath.Join(dir, "state")
	copySelf(t, program)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), socketsDirEnv+"="+state)
	if os.Getuid() == 0 {
		for path, mode := range map[string]os.FileMode{dir: 0o711, program: 0o755} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(state, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(state, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	if got := strings.TrimSpace(out.String()); got != "sockets: []" {
		t.Errorf("the process has %s", got)
	}
	if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory is %v, %v", info.Mode(), err)
	}
}

func copySelf(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// tellSockets is the process of TestNoSockets.
func tellSockets(dir string) int {
	err := func() error {
		s, err := store.New(store.Config{Dir: dir, Resources: storetest.Resources(), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err != nil {
			return err
		}
		if err := s.Start(context.Background()); err != nil {
			return err
		}
		if _, err := s.Create(context.Background(), storetest.ConfigMaps, named("a")); err != nil {
			return err
		}
		sockets, err := openSockets()
		if err != nil {
			return err
		}
		fmt.Println("sockets:", sockets)
		return s.Close()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func openSockets() ([]string, error) {
	const fds = "/proc/self/fd"
	entries, err := os.ReadDir(fds)
	if err != nil {
		return nil, err
	}
	var sockets []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			sockets = append(sockets, to)
		}
	}
	return sockets, nil
}

func TestDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	cfg := store.Config{Dir: t.TempDir(), Resources: storetest.Resources()}
	start(t, cfg)
	second, err := store.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second store over the directory: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// TestLargest stores objects up to the bound, which must fit what etcd takes.
func TestLargest(t *testing.T) {
	t.Parallel()
	s := start(t, store.Config{Dir: t.TempDir()})
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}, Data: map[string]string{"x": ""}}
	room := store.MaxObjectBytes - cm.Size() - 2*3 // what the lengths of longer fields take
	cm.Data["x"] = strings.Repeat("x", room)
	for cm.Size() < store.MaxObjectBytes {
		cm.Data["x"] += "x"
	}
	if cm.Size() != store.MaxObjectBytes {
		t.Fatalf("the object takes %d bytes", cm.Size())
	}
	if _, err := s.Create(testContext(t), storetest.ConfigMaps, cm); err != nil {
		t.Errorf("an object of the largest size: %v", err)
	}
	cm.Name = "b"
	cm.Data["x"] += "x"
	if _, err := s.Create(testContext(t), storetest.ConfigMaps, cm); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("one byte more: %v", err)
	}
}

// TestQuota fills etcd until it refuses, deletes, and goes on: that must not need anybody's hand.
func TestQuota(t *testing.T) {
	t.Parallel()
	const quota = 16 << 20
	s := start(t, store.Config{Dir: t.TempDir(), QuotaBytes: quota})
	filler := strings.Repeat("x", 1<<20)
	create := func(name string) error {
		cm := named(name)
		cm.Data = map[string]string{"x": filler}
		_, err := s.Create(testContext(t), storetest.ConfigMaps, cm)
		return err
	}
	var names []string
	var err error
	for i := range 2 * quota / len(filler) {
		name := fmt.Sprintf("a%d", i)
		if err = create(name); err != nil {
			break
		}
		names = append(names, name)
	}
	var status apierrors.APIStatus
	if status, _ = err.(apierrors.APIStatus); status == nil || status.Status().Code != 507 {
		t.Fatalf("after %d MiB of %d: %v", len(names), quota>>20, err)
	}
	for _, name := range names {
		if _, _, err := s.Update(testContext(t), storetest.ConfigMaps, "ns", name, store.Preconditions{},
			func(o runtime.Object) (runtime.Object, store.Verdict, error) { return o, store.Remove, nil }); err != nil {
			t.Fatalf("a deletion while etcd is full: %v", err)
		}
	}
	// Compaction frees in the background, so it may take more than one round.
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := s.Compact(t.Context(), fresh(t, s)); err != nil {
			t.Fatal(err)
		}
		if err = create("again"); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after everything was deleted: %v", err)
		}
	}
}

// TestRunCompacts runs the store with a short interval: the history goes, and nothing else does.
func TestRunCompacts(t *testing.T) {
	t.Parallel()
	s := start(t, store.Config{Dir: t.TempDir(), CompactInterval: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	first := churn(t, s, 0)
	for round := 1; ; round++ {
		churn(t, s, round)
		_, err := s.List(ctx, storetest.ConfigMaps, store.ListOptions{Revision: first, Exact: true})
		if apierrors.IsResourceExpired(err) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run ended with %v", err)
	}
}
