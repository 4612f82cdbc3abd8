package store_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/store/storetest"
)

// writerDirEnv makes the test binary a writer over the directory it names.
const writerDirEnv = "STORE_TEST_WRITER_DIR"

// TestKill kills writers with writes under way, again and again over the same directory: each write that was
// acknowledged must be there afterwards, with its revision, and each removal must have stayed.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	last := map[string]told{}
	for round := range 3 {
		acknowledged := runWriter(t, dir, 200+100*round)
		for _, line := range acknowledged {
			var l told
			var name string
			if _, err := fmt.Sscan(line, &l.verb, &name, &l.revision); err != nil {
				t.Fatalf("the writer said %q: %v", line, err)
			}
			last[name] = l
		}
		verifyKilled(t, dir, last)
	}
	if len(last) < 100 {
		t.Errorf("only %d names were written", len(last))
	}
}

// told is what a writer said last of a name.
type told struct {
	verb     string // there, removing, gone
	revision int64
}

// runWriter starts a writer, and kills it after so many acknowledgements.
func runWriter(t *testing.T, dir string, enough int) (lines []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), writerDirEnv+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	overdue := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	// What is in the pipe when the writer dies was acknowledged, so it is read to the end.
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		if lines = append(lines, scanner.Text()); len(lines) == enough {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	if len(lines) < enough {
		t.Fatalf("the writer ended after %d of %d writes", len(lines), enough)
	}
	// The last line may be cut.
	return lines[:len(lines)-1]
}

func verifyKilled(t *testing.T, dir string, last map[string]told) {
	t.Helper()
	s := start(t, store.Config{Dir: dir})
	defer stop(t, s)
	there, gone := 0, 0
	for name, want := range last {
		e, err := s.Get(testContext(t), storetest.ConfigMaps, "default", name, true)
		switch {
		case apierrors.IsNotFound(err) && want.verb != "there": // a removal may be done that the writer did not hear of
			gone++
		case err != nil:
			t.Errorf("%s, last told %+v: %v", name, want, err)
		case want.verb == "gone":
			t.Errorf("%s, last told %+v, is at %d", name, want, e.Revision)
		case e.Revision < want.revision:
			t.Errorf("%s, last told %+v, is at %d", name, want, e.Revision)
		default:
			there++
		}
	}
	t.Logf("%d objects are there, %d were removed", there, gone)
}

// write is the writer: several at once, each on names of its own, until it is killed. It tells each acknowledgement.
func write(dir string) int {
	s, err := store.New(store.Config{Dir: dir, Resources: storetest.Resources(), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err == nil {
		err = s.Start(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := writeOne(s, fmt.Sprintf("w%d-%d-%d", w, os.Getpid(), i), i); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return 1
}

// writeOne creates an object, changes every second and removes every third.
func writeOne(s *store.Store, name string, i int) error {
	ctx := context.Background()
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	out, err := s.Create(ctx, storetest.ConfigMaps, obj)
	if err != nil {
		return err
	}
	fmt.Printf("there %s %s\n", name, out.(*corev1.ConfigMap).ResourceVersion)
	for _, step := range []struct {
		every   int
		verdict store.Verdict
		verb    string
	}{{2, store.Put, "there"}, {3, store.Remove, "gone"}} {
		if i%step.every != 0 {
			continue
		}
		if step.verdict == store.Remove {
			fmt.Printf("removing %s %s\n", name, out.(*corev1.ConfigMap).ResourceVersion)
		}
		out, _, err = s.Update(ctx, storetest.ConfigMaps, "default", name, store.Preconditions{},
			func(current runtime.Object) (runtime.Object, store.Verdict, error) {
				current.(*corev1.ConfigMap).Data = map[string]string{"step": step.verb}
				return current, step.verdict, nil
			})
		if err != nil {
			return err
		}
		fmt.Printf("%s %s %s\n", step.verb, name, out.(*corev1.ConfigMap).ResourceVersion)
	}
	return nil
}
