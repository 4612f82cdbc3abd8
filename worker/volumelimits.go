package worker

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/volume"
)

// defaultVolumeInterval is how often empty directories with a limit are measured: looking through one costs as much as
// there are files.
const defaultVolumeInterval = 10 * time.Second

// keepVolumeLimits ends pods that have written more into an empty directory than its limit, until ctx ends.
func (m *manager) keepVolumeLimits(ctx context.Context) {
	tick := time.NewTicker(m.cfg.volumeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, a := range m.all() {
			if ctx.Err() != nil {
				return
			}
			m.keepVolumeLimit(ctx, a)
		}
	}
}

func (m *manager) keepVolumeLimit(ctx context.Context, a *actor) {
	shown := a.snapshot()
	if shown.pod == nil || len(shown.sandboxes) == 0 || a.ends() || pod.Terminal(shown.phase) {
		return
	}
	for name, limit := range volume.Limited(shown.pod) {
		used, err := volume.Usage(ctx, filepath.Join(m.paths.volumes(a.uid), name))
		if err != nil {
			if ctx.Err() == nil {
				m.log.Warn("volume was not measured", "pod", shown.pod.Namespace+"/"+shown.pod.Name, "volume", name, "error", err)
			}
			continue
		}
		if used > limit {
			a.evict(fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q.", name, resource.NewQuantity(limit, resource.BinarySI)))
			return
		}
	}
}
