package supervisor

import (
	"os"
	"testing"
)

// TestTheCacheIsThereForTheFirstRunner: also where runners have no users of their own, and nothing was compiled yet.
func TestTheCacheIsThereForTheFirstRunner(t *testing.T) {
	s := &Supervisor{cfg: Config{CacheDir: t.TempDir() + "/wasmrt/cache"}}
	for range 2 {
		if err := s.makeCache(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(s.cfg.CacheDir); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
	if err := (&Supervisor{}).makeCache(); err != nil {
		t.Errorf("without a cache: %v", err)
	}
}
