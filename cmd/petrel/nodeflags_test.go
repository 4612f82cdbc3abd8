package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/worker/eviction"
	"github.com/petrelrun/petrel/worker/imagegc"
	"github.com/petrelrun/petrel/worker/logrotate"
)

func keepOf(t *testing.T, args ...string) (*nodeFlags, error) {
	t.Helper()
	n := &nodeFlags{}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	n.addFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return n, n.check()
}

func TestNodeFlags(t *testing.T) {
	n, err := keepOf(t)
	if err != nil {
		t.Fatal(err)
	}
	same := len(n.keep.Eviction) == len(eviction.Default()) && n.keep.Images == imagegc.Default() && n.keep.LogSize == logrotate.DefaultSize && n.keep.LogFiles == logrotate.DefaultFiles
	for _, threshold := range eviction.Default() {
		same = same && slices.Contains(n.keep.Eviction, threshold)
	}
	if !same || n.staticDir != "" {
		t.Errorf("the flags' defaults are not the worker's: %+v", n.keep)
	}
	n, err = keepOf(t, "--eviction-hard=", "--image-maximum-gc-age=1h", "--container-log-max-size=1Mi", "--pod-manifest-path=here")
	if err != nil || n.keep.Eviction == nil || len(n.keep.Eviction) != 0 || n.keep.Images.MaxAge != time.Hour || n.keep.LogSize != 1<<20 || !strings.HasPrefix(n.staticDir, "/") {
		t.Errorf("flags = %+v, %v", n, err)
	}
	n, err = keepOf(t, "--eviction-hard=memory.available<1Mi", "--eviction-soft=memory.available<2Mi", "--eviction-soft-grace-period=memory.available=1m", "--eviction-max-pod-grace-period=-1", "--eviction-pressure-transition-period=3s")
	soft := eviction.Threshold{Signal: eviction.MemoryAvailable, Amount: 2 << 20, Soft: true, Grace: time.Minute}
	if err != nil || len(n.keep.Eviction) != 2 || n.keep.Eviction[1] != soft || n.keep.MaxEvictionGrace >= 0 || n.keep.Transition != 3*time.Second {
		t.Errorf("soft eviction = %+v, %v", n.keep, err)
	}
	n, err = keepOf(t, "--eviction-minimum-reclaim=memory.available=2Mi,nodefs.available=1%", "--minimum-image-ttl-duration=7s", "--image-maximum-gc-age=8s")
	if err != nil || n.keep.Images.MinAge != 7*time.Second || !slices.ContainsFunc(n.keep.Eviction, func(t eviction.Threshold) bool {
		return t.Signal == eviction.MemoryAvailable && t.Reclaim.Amount == 2<<20
	}) {
		t.Errorf("reclaim = %+v, %v", n.keep, err)
	}
	for _, bad := range []string{"--eviction-soft=memory.available<1Mi", "--eviction-soft=heat<1", "--eviction-soft-grace-period=memory.available=1m", "--eviction-pressure-transition-period=-1s",
		"--eviction-hard=heat<1", "--image-gc-high-threshold=101", "--image-gc-low-threshold=90", "--container-log-max-size=much",
		"--container-log-max-size=1", "--container-log-max-files=1", "--image-maximum-gc-age=1s", "--minimum-image-ttl-duration=-1s", "--eviction-minimum-reclaim=heat=1", "--eviction-minimum-reclaim=memory.available=-1"} {
		if _, err := keepOf(t, bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
