package worker

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/eviction"
	"github.com/petrelrun/petrel/worker/imagegc"
	"github.com/petrelrun/petrel/worker/logrotate"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/stats"
)

// Housekeeping says when the node frees what it is running out of. Fields that are empty get the defaults named here.
type Housekeeping struct {
	// Eviction is what has to be free, below which pods are ended; nil: eviction.Default(). Empty but not nil: nothing has to.
	Eviction []eviction.Threshold
	// Transition is how long a condition goes on after what was short no longer is; 5 minutes.
	Transition time.Duration
	// MaxEvictionGrace bounds what a pod has to end that is evicted for a soft threshold; negative: what it asks for.
	MaxEvictionGrace time.Duration
	// Images says when unused images go; imagegc.Default().
	Images imagegc.Policy
	// LogSize and LogFiles bound the logs of a container; 10 MiB and 5.
	LogSize  int64
	LogFiles int
	// logInterval is how often logs are looked at; logrotate's own.
	logInterval time.Duration
}

func (h *Housekeeping) setDefaults() {
	if h.Eviction == nil {
		h.Eviction = eviction.Default()
	}
	if h.Images == (imagegc.Policy{}) {
		h.Images = imagegc.Default()
	}
	h.LogSize = cmp.Or(h.LogSize, logrotate.DefaultSize)
	h.LogFiles = cmp.Or(h.LogFiles, logrotate.DefaultFiles)
}

// ImageMinAge is how long an image stays at least, so that one that was pulled for a pod to come does.
const ImageMinAge = 2 * time.Minute

// Validate reports what makes the configuration unusable.
func (h *Housekeeping) Validate() error {
	if err := h.Images.Validate(); err != nil {
		return err
	}
	if h.Transition < 0 {
		return fmt.Errorf("eviction pressure transition period %v: want none that is negative", h.Transition)
	}
	return logrotate.CheckLimits(h.LogSize, h.LogFiles)
}

// housekeeper runs what frees memory and disk.
type housekeeper struct {
	pressure *eviction.Monitor
	images   *imagegc.Collector
	logs     *logrotate.Rotator
}

// newHousekeeper makes it; changed is called when a condition of the node has come or gone.
func (w *Worker) newHousekeeper(m *manager, changed func()) (*housekeeper, error) {
	h, cfg := &housekeeper{}, &w.cfg.Housekeeping
	var err error
	h.images, err = imagegc.New(imagegc.Config{
		Policy: cfg.Images, Runtimes: w.imageRuntimes, Wanted: func() []string { return w.wantedImages(m) }, Keep: keptImage, Disk: stats.ReadDisk, Logger: w.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	h.logs, err = logrotate.New(logrotate.Config{
		MaxSize: cfg.LogSize, MaxFiles: cfg.LogFiles, Interval: cfg.logInterval, Logs: m.openLogs, Reopen: m.rt.ReopenContainerLog, Logger: w.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	e := &evictor{w: w, m: m}
	h.pressure, err = eviction.New(eviction.Config{
		Thresholds: cfg.Eviction, Observe: e.observe, Reclaim: h.images.Reclaim, Pods: e.candidates, Evict: e.evict, Evicted: m.metrics.kubelet.evicts, Ended: e.ended,
		Reclaiming: func(resource string) { m.events.nodeReclaims(w.cfg.NodeName, resource) },
		Changed:    changed, Logger: w.cfg.Logger, Transition: cfg.Transition, MaxGrace: cfg.MaxEvictionGrace,
	})
	return h, err
}

// run keeps house until ctx ends. It begins when what runs was taken over: before, nobody knows what is in use.
func (h *housekeeper) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.pressure.Run(ctx) })
	group.Go(func() error { return h.images.Run(ctx) })
	group.Go(func() error { return h.logs.Run(ctx) })
	return group.Wait()
}

// keptByThresholds is what of the machine pods may not have: they would be evicted for it.
func (w *Worker) keptByThresholds(memory, disk int64) (keptMemory, keptDisk int64) {
	for _, t := range w.cfg.Housekeeping.Eviction {
		switch {
		case t.Soft: // may be crossed
		case t.Signal == eviction.MemoryAvailable:
			keptMemory = t.Least(memory)
		case t.Signal == eviction.NodeFSAvailable:
			keptDisk = t.Least(disk)
		}
	}
	return keptMemory, keptDisk
}

// imageRuntimes are those whose images are looked through: of a containerd that was not met yet it is not known what it
// needs itself.
func (w *Worker) imageRuntimes() map[string]imagegc.Runtime {
	out := map[string]imagegc.Runtime{}
	for i, member := range w.set.Members() {
		if i == 0 || w.containers.Load() != nil {
			out[member.Name] = member.Client
		}
	}
	return out
}

// wantedImages are those that pods name, and what the machine's containerd makes sandboxes of: its older versions do not
// pin it, and may have no registry to fetch it from again.
func (w *Worker) wantedImages(m *manager) []string {
	out := m.wantedImages()
	if image := w.sandboxImage.Load(); image != nil {
		out = append(out, *image)
	}
	return out
}

// pauseImage begins the names of the image that sandboxes of containers run. No registry has it.
const pauseImage = "petrel.internal/pause"

func keptImage(name string) bool { return strings.HasPrefix(name, pauseImage) }

// wantedImages are those that the node's pods name, unless they have ended.
func (m *manager) wantedImages() []string {
	var out []string
	for _, a := range m.all() {
		shown := a.snapshot()
		if pod.Terminal(shown.phase) {
			continue
		}
		spec := &shown.pod.Spec
		for _, all := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range all {
				out = append(out, all[i].Image)
			}
		}
		for i := range spec.EphemeralContainers {
			out = append(out, spec.EphemeralContainers[i].Image)
		}
	}
	return out
}

// openLogs are the logs of the containers that run.
func (m *manager) openLogs() iter.Seq[logrotate.Log] {
	return func(yield func(logrotate.Log) bool) {
		for _, a := range m.all() {
			shown := a.snapshot()
			dir := ""
			for _, i := range shown.instances {
				if i.state != pod.Running {
					continue
				}
				if dir == "" {
					dir = m.paths.logs(shown.pod) + "/"
				}
				if !yield(logrotate.Log{ContainerID: i.id, Path: dir + logName(i.container, i.attempt)}) {
					return
				}
			}
		}
	}
}
