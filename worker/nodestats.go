package worker

import (
	"context"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/stats"
)

// newStats makes what tells how much the node and its pods take.
func (w *Worker) newStats(m *manager) error {
	var err error
	if m.usage, err = stats.New(stats.Config{Sources: w.statsSources, Logger: w.cfg.Logger}); err != nil {
		return err
	}
	m.figures, err = stats.NewServer(stats.ServerConfig{
		Collector: m.usage, Node: w.cfg.NodeName, Dir: w.cfg.RootDir, Starts: m.starting, Volumes: m.volumesOf, Files: m.filesOf, ImageDirs: w.imageDirs,
	})
	return err
}

// statsSources are the runtimes that count what containers take. Pods of the own one share the machine's network.
func (w *Worker) statsSources() []stats.Source {
	var out []stats.Source
	for _, m := range w.set.Members() {
		out = append(out, stats.Source{Runtime: m.Client, Networks: m.Name != runtimes.Wasm})
	}
	return out
}

// starting tells when a pod and its containers began.
func (m *manager) starting(uid string) stats.Starts {
	a := m.actor(types.UID(uid))
	if a == nil {
		return stats.Starts{}
	}
	shown := a.snapshot()
	out := stats.Starts{Pod: shown.pod.CreationTimestamp.Time}
	if at := shown.pod.Status.StartTime; at != nil {
		out.Pod = at.Time
	}
	for _, i := range shown.instances {
		if out.Containers[i.container].IsZero() { // the newest comes first
			if out.Containers == nil {
				out.Containers = make(map[string]time.Time, len(shown.instances))
			}
			out.Containers[i.container] = i.started
		}
	}
	return out
}

// filesOf is what the pod's logs and its own volumes take on the node's disk.
func (m *manager) filesOf(p stats.Pod) stats.Files {
	out := stats.Files{Logs: map[string]stats.DiskUse{}, Volumes: map[string]stats.DiskUse{}}
	named := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID)}}
	logs := m.paths.logs(named)
	entries, _ := os.ReadDir(logs) // a pod that has none has written none
	for _, e := range entries {
		out.Logs[e.Name()] = stats.TreeUse(filepath.Join(logs, e.Name()))
	}
	a := m.actor(named.UID)
	if a == nil {
		return out
	}
	shown := a.snapshot()
	out.Other = stats.TreeUse(m.madeFor(named.UID)...)
	for name, dir := range m.ownVolumes(shown.pod) {
		out.Volumes[name] = stats.TreeUse(dir)
	}
	return out
}

// imageDirs are where the runtimes' images lie, and what they take.
func (w *Worker) imageDirs(ctx context.Context) map[string]stats.DiskUse {
	out := map[string]stats.DiskUse{}
	for _, m := range w.set.Members() {
		info, err := m.Client.ImageFsInfo(ctx)
		if err != nil {
			w.cfg.Logger.Debug("runtime did not tell where images are", "runtime", m.Name, "error", err)
			continue
		}
		for _, fs := range info.GetImageFilesystems() {
			out[fs.GetFsId().GetMountpoint()] = stats.DiskUse{Bytes: pointer(fs.GetUsedBytes()), Inodes: pointer(fs.GetInodesUsed())}
		}
	}
	return out
}

func pointer(v *runtimev1.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}
