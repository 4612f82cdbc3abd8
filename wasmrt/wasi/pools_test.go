package wasi_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// What a request opens and leaves behind is gone for the next, which has the same instance put back to its snapshot.
func TestResetInstancesReachOut(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Go guest")
	}
	tmpl := load(t, filepath.Join(t.TempDir(), "cache"), moduletest.BuildGo(t, "testdata/reactor", true))
	tcp, _ := echoes(t)
	pool, err := tmpl.NewPool(engine.PoolConfig{Spec: engine.Spec{Env: []string{"ADDRESS=" + tcp}, Egress: grants(t, "tcp:"+tcp)}})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for range 3 {
		wg.Go(func() {
			for range 20 {
				in, err := pool.Get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				var out bytes.Buffer
				in.SetOutput(&out, &out)
				err = in.Call(t.Context(), "petrel_http_v1_handle")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[out.String()]++
				mu.Unlock()
				if err := pool.Put(in); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for out, n := range seen {
		if n != 60 || !strings.HasPrefix(out, "visit 1\nfiles 0, descriptor ") || !strings.HasSuffix(out, "<nil>\n") {
			t.Errorf("%d times: %q", n, out)
		}
	}
	if stats := pool.Stats(); stats.Resets < 50 || len(stats.Discards) > 0 {
		t.Errorf("pool: %+v", stats)
	}
}
