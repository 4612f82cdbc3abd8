package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// module is one of a size, whose bytes tell if they were mixed up.
func module(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	copy(b, wasm)
	return b
}

// ranges serves a blob as registries do, by parts when asked to, and lets tests cut it.
type ranges struct {
	content []byte
	cut     func(from, to int) int // how many bytes to send of those asked for
	mu      sync.Mutex
	asked   []string
	most    atomic.Int64
	now     atomic.Int64
}

func (s *ranges) serve(rw http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/blobs/"+sum(s.content)) {
		return false
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.Header.Get("Range"))
	s.mu.Unlock()
	for n := s.now.Add(1); ; {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	defer s.now.Add(-1)
	from, to := 0, len(s.content)
	if header := r.Header.Get("Range"); header != "" {
		if _, err := fmt.Sscanf(header, "bytes=%d-%d", &from, &to); err != nil {
			rw.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return true
		}
		to++
		rw.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(s.content)))
		rw.Header().Set("Content-Length", strconv.Itoa(to-from))
		rw.WriteHeader(http.StatusPartialContent)
	} else {
		rw.Header().Set("Content-Length", strconv.Itoa(len(s.content)))
	}
	n := to - from
	if s.cut != nil {
		n = s.cut(from, to)
	}
	_, _ = rw.Write(s.content[from : from+n])
	if n < to-from {
		_ = http.NewResponseController(rw).Flush() // what was sent arrives
		panic(http.ErrAbortHandler)                // the connection breaks
	}
	return true
}

func (s *ranges) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func TestCutDownloadsGoOn(t *testing.T) {
	w := newWorld(t)
	s := &ranges{content: module(1 << 20)}
	w.artifact("x", "v1", s.content)
	s.cut = func(from, to int) int { return min(to-from, 300_000) }
	w.onRequest(s.serve)
	i := w.pull(t, "registry.test/x:v1")
	if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("stored %d bytes, %v", len(got), err)
	}
	want := []string{"", "bytes=300000-1048575", "bytes=600000-1048575", "bytes=900000-1048575"}
	if got := s.requests(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	w.noParts(t)
}

func (w *world) noParts(t *testing.T) {
	t.Helper()
	if parts, err := os.ReadDir(w.store.incoming.dir); err != nil || len(parts) != 0 {
		t.Errorf("parts are left: %v, %v", parts, err)
	}
}

func TestDownloadsGoOnInTheNextProcess(t *testing.T) {
	w := newWorld(t)
	s := &ranges{content: module(1 << 20)}
	w.artifact("x", "v1", s.content)
	broken := true
	s.cut = func(from, to int) int {
		if broken {
			return min(to-from, max(400_000-from, 0))
		}
		return to - from
	}
	w.onRequest(s.serve)
	if _, err := w.puller.Pull(context.Background(), "registry.test/x:v1", authn.AuthConfig{}); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a broken pull: %v", err)
	}
	w.puller.Close()
	w.open(t)
	broken = false
	before := len(s.requests())
	w.pull(t, "registry.test/x:v1")
	if got := s.requests()[before:]; fmt.Sprint(got) != "[bytes=400000-1048575]" {
		t.Errorf("the next process asked for %q", got)
	}
	w.noParts(t)
}

func TestSpoiltPartsAreFetchedAnew(t *testing.T) {
	w := newWorld(t)
	content := module(1 << 20)
	w.artifact("x", "v1", content)
	for name, left := range map[string][]byte{"other bytes": make([]byte, 1000), "whole, but other": make([]byte, len(content)), "too long": make([]byte, len(content)+1)} {
		t.Run(name, func(t *testing.T) {
			p, err := w.store.incoming.take(context.Background(), "registry.test/x", sum(content))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Write(left); err != nil {
				t.Fatal(err)
			}
			if err := p.leave(false); err != nil {
				t.Fatal(err)
			}
			s := &ranges{content: content}
			w.onRequest(s.serve)
			i := w.pull(t, "registry.test/x:v1")
			if _, err := w.store.Remove(i.ID); err != nil {
				t.Fatal(err)
			}
			w.noParts(t)
		})
	}
}

func TestLargeModulesComeOverSeveralConnections(t *testing.T) {
	w := newWorld(t)
	s := &ranges{content: module(5*chunk + 12345)}
	w.artifact("x", "v1", s.content)
	var once atomic.Bool
	var told atomic.Int64
	together := make(chan struct{})
	s.cut = func(from, to int) int {
		if from > 0 { // holds until several are under way at once
			if s.now.Load() >= 3 && once.CompareAndSwap(false, true) {
				pr, ok := w.puller.Progress("registry.test/x:v1")
				if ok && pr.Total == int64(len(s.content)) && pr.Done >= chunk {
					told.Store(pr.Done)
				}
				close(together)
			}
			<-together
		}
		if from == 2*chunk {
			return 1000 // one of them breaks
		}
		return to - from
	}
	w.onRequest(s.serve)
	i := w.pull(t, "registry.test/x:v1")
	if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("stored %d bytes, %v", len(got), err)
	}
	if most := s.most.Load(); most < 3 || most > streams {
		t.Errorf("%d requests at a time, want 3 to %d", most, streams)
	}
	if told.Load() == 0 {
		t.Error("no progress was told")
	}
	if _, ok := w.puller.Progress("registry.test/x:v1"); ok {
		t.Error("a pull that ended is told")
	}
	for _, r := range s.requests() {
		if r == "" {
			t.Errorf("asked for the whole: %q", s.requests())
		}
	}
}

func TestRegistriesWithoutRanges(t *testing.T) {
	w := newWorld(t)
	content := module(3 * chunk)
	w.artifact("x", "v1", content)
	var asked atomic.Int64
	w.onRequest(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/blobs/"+sum(content)) {
			return false
		}
		asked.Add(1)
		_, _ = rw.Write(content)
		return true
	})
	i := w.pull(t, "registry.test/x:v1")
	if got, err := os.ReadFile(w.store.ModulePath(i)); err != nil || !bytes.Equal(got, content) {
		t.Errorf("stored %d bytes, %v", len(got), err)
	}
	if asked.Load() != 2 { // once for a part, once for the whole
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestHolesAreNotTakenForContent(t *testing.T) {
	in := newIncoming(t.TempDir())
	if err := in.open(); err != nil {
		t.Fatal(err)
	}
	p, err := in.take(context.Background(), "r", "d")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1 << 20} {
		if _, err := p.WriteAt(module(100_000), at); err != nil {
			t.Fatal(err)
		}
	}
	if begun, err := p.begun(); err != nil || begun > 100_000 {
		t.Errorf("begun %d, %v", begun, err)
	}
	if err := p.leave(true); err != nil {
		t.Fatal(err)
	}
}

func TestOldPartsGo(t *testing.T) {
	in := newIncoming(t.TempDir())
	if err := in.open(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	held, err := in.take(context.Background(), "r", "held")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.leave(true) }()
	for n := range maxParts + 5 {
		path := filepath.Join(in.dir, fmt.Sprint(n))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		age := time.Duration(n) * time.Minute
		if n == 0 {
			age = partLife + time.Minute
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(held.Name(), now, now.Add(-2*partLife)); err != nil {
		t.Fatal(err)
	}
	if err := in.prune(now); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(in.dir)
	if err != nil || len(left) != maxParts+1 {
		t.Errorf("%d are left, %v; want %d and the one in use", len(left), err, maxParts)
	}
	if _, err := os.Stat(held.Name()); err != nil {
		t.Errorf("the part in use: %v", err)
	}
}

func TestOnePartForOneDownload(t *testing.T) {
	in := newIncoming(t.TempDir())
	if err := in.open(); err != nil {
		t.Fatal(err)
	}
	first, err := in.take(context.Background(), "r", "d")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := in.take(ctx, "r", "d"); !errors.Is(err, context.Canceled) {
		t.Errorf("taken twice: %v", err)
	}
	other, err := in.take(context.Background(), "another", "d")
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan error)
	go func() {
		p, err := in.take(context.Background(), "r", "d")
		if err == nil {
			err = p.leave(true)
		}
		next <- err
	}()
	if err := errors.Join(first.leave(false), <-next, other.leave(true)); err != nil {
		t.Error(err)
	}
}
