package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/petrelrun/petrel/worker"
	"github.com/petrelrun/petrel/worker/eviction"
)

// nodeFlags say how a node keeps house, and which pods it runs by itself. They have kubelet's names.
type nodeFlags struct {
	evictionHard  string
	evictionSoft  string
	softGraces    string
	softPodGrace  int
	reclaim       string
	transition    time.Duration
	imageHigh     int
	imageLow      int
	imageMinAge   time.Duration
	imageMaxAge   time.Duration
	logSize       string
	logFiles      int
	staticPodPath string

	keep      worker.Housekeeping
	staticDir string
}

func (n *nodeFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&n.evictionHard, "eviction-hard", "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,imagefs.available<5%,imagefs.inodesFree<5%,pid.available<5%",
		"what has to be free, below which pods are evicted; empty: no pod ever is")
	f.StringVar(&n.evictionSoft, "eviction-soft", "", "what has to be free, below which for longer than --eviction-soft-grace-period pods are evicted with time to end (default: nothing)")
	f.StringVar(&n.softGraces, "eviction-soft-grace-period", "", "for how long each of --eviction-soft may be short, such as memory.available=1m30s")
	f.IntVar(&n.softPodGrace, "eviction-max-pod-grace-period", 0, "seconds that a pod evicted for --eviction-soft has to end at the most; negative: what it asks for")
	f.StringVar(&n.reclaim, "eviction-minimum-reclaim", "", "what has to be free beyond a threshold once it was crossed, such as nodefs.available=500Mi,imagefs.available=2Gi (default: nothing)")
	f.DurationVar(&n.transition, "eviction-pressure-transition-period", eviction.DefaultTransition, "how long a node's condition of pressure goes on after the need is over")
	f.IntVar(&n.imageHigh, "image-gc-high-threshold", 85, "use of the images' disk in percent at which unused images are removed; 100: never for that")
	f.IntVar(&n.imageLow, "image-gc-low-threshold", 80, "use of the images' disk in percent down to which they are")
	f.DurationVar(&n.imageMinAge, "minimum-image-ttl-duration", worker.ImageMinAge, "how long an image stays at least, though nothing uses it")
	f.DurationVar(&n.imageMaxAge, "image-maximum-gc-age", 0, "how long an image may lie unused (default: for ever)")
	f.StringVar(&n.logSize, "container-log-max-size", "10Mi", "size at which a container's log is rotated")
	f.IntVar(&n.logFiles, "container-log-max-files", 5, "files that a container's log may have")
	f.StringVar(&n.staticPodPath, "pod-manifest-path", "", "directory of static pods, one a file, as YAML or JSON: they run without the API (default: none)")
}

// thresholds are both kinds; none at all is not the default.
func (n *nodeFlags) thresholds() ([]eviction.Threshold, error) {
	hard, err := eviction.ParseThresholds(n.evictionHard)
	if err != nil {
		return nil, fmt.Errorf("--eviction-hard: %w", err)
	}
	soft, err := eviction.ParseThresholds(n.evictionSoft)
	if err != nil {
		return nil, fmt.Errorf("--eviction-soft: %w", err)
	}
	if soft, err = eviction.Soften(soft, n.softGraces); err != nil {
		return nil, fmt.Errorf("--eviction-soft, --eviction-soft-grace-period: %w", err)
	}
	all, err := eviction.Reclaiming(append(append([]eviction.Threshold{}, hard...), soft...), n.reclaim)
	if err != nil {
		return nil, fmt.Errorf("--eviction-minimum-reclaim: %w", err)
	}
	return all, nil
}

// check reads what the flags hold.
func (n *nodeFlags) check() error {
	thresholds, err := n.thresholds()
	if err != nil {
		return err
	}
	size, err := resource.ParseQuantity(n.logSize)
	if err != nil {
		return fmt.Errorf("--container-log-max-size: %w", err)
	}
	n.keep = worker.Housekeeping{
		Eviction: thresholds, Transition: n.transition, MaxEvictionGrace: time.Duration(n.softPodGrace) * time.Second,
		LogSize: size.Value(), LogFiles: n.logFiles,
	}
	n.keep.Images.High, n.keep.Images.Low, n.keep.Images.MinAge, n.keep.Images.MaxAge = n.imageHigh, n.imageLow, n.imageMinAge, n.imageMaxAge
	if err := n.keep.Validate(); err != nil {
		return err
	}
	if n.staticPodPath == "" {
		return nil
	}
	if n.staticDir, err = filepath.Abs(n.staticPodPath); err != nil {
		return errors.Join(errors.New("--pod-manifest-path"), err)
	}
	return nil
}
