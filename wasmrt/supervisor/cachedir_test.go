package supervisor

import (
	"os"
	"testing"
)

// TestTheCacheIsThereForTheFirstRunner: also where runners have no users of their own, and nothing was compiled yet.
func TestTheCacheIsThereForTheFirstRunner(t *testing.T) {
	dir := t.TempDir()
	s := &Supervisor{cfg: Config{Root: dir + "/wasmrt", CacheDir: dir + "/wasmrt/cache"}}
	for range 2 {
		if err := s.makeDirs(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{s.cfg.CacheDir, BindDir(s.cfg.Root)} {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if err := (&Supervisor{}).makeDirs(); err != nil {
		t.Errorf("without a cache: %v", err)
	}
}
