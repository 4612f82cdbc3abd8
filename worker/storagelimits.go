package worker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/resource"

	"github.com/petrelrun/petrel/worker/eviction"
	"github.com/petrelrun/petrel/worker/volume"
)

// defaultStorageInterval is how often the disk is measured that pods with limits take: looking through directories costs as
// much as there are files.
const defaultStorageInterval = 10 * time.Second

// keepStorageLimits ends pods that have written more than they may, until ctx ends.
func (m *manager) keepStorageLimits(ctx context.Context) {
	tick := time.NewTicker(m.cfg.storageInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l := layers{m: m}
		for _, a := range m.all() {
			if ctx.Err() != nil {
				return
			}
			m.keepStorageLimit(ctx, a, &l)
		}
	}
}

func (m *manager) keepStorageLimit(ctx context.Context, a *actor, l *layers) {
	shown := a.snapshot()
	if shown.pod == nil || len(shown.sandboxes) == 0 || a.ends() || isCritical(shown.pod) {
		return
	}
	signal, why, err := m.beyondStorage(ctx, shown.pod, l)
	if err != nil && ctx.Err() == nil {
		m.log.Warn("storage of a pod was not measured", "pod", shown.pod.Namespace+"/"+shown.pod.Name, "error", err)
	}
	if why != "" {
		m.metrics.kubelet.evicts(signal)
		a.evict(why, evictionGrace)
	}
}

// Kubelet's names of the limits that are not signals of the node.
const (
	signalEmptyDir  eviction.Signal = "emptydirfs.limit"
	signalPod       eviction.Signal = "ephemeralpodfs.limit"
	signalContainer eviction.Signal = "ephemeralcontainerfs.limit"
)

// beyondStorage says, in kubelet's words, which limit of local storage the pod is beyond; empty for none.
func (m *manager) beyondStorage(ctx context.Context, p *corev1.Pod, l *layers) (eviction.Signal, string, error) {
	for name, limit := range volume.Limited(p) {
		used, err := volume.Usage(ctx, filepath.Join(m.paths.volumes(p.UID), name))
		if err != nil {
			return "", "", fmt.Errorf("measure volume %s: %w", name, err)
		}
		if used > limit {
			return signalEmptyDir, fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q.", name, resource.NewQuantity(limit, resource.BinarySI)), nil
		}
	}
	together, ok := helpers.PodLimits(p, helpers.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	if !ok || together.IsZero() {
		return "", "", nil
	}
	used, err := m.storage(ctx, p, l)
	if err != nil {
		return "", "", err
	}
	if used.total() > together.Value() {
		return signalPod, fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s.", &together), nil
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			limit := list[i].Resources.Limits[corev1.ResourceEphemeralStorage]
			if !limit.IsZero() && used.containers[list[i].Name] > limit.Value() {
				return signalContainer, fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q.", list[i].Name, &limit), nil
			}
		}
	}
	return "", "", nil
}

// storage is what a pod takes of the node's disk, in bytes.
type storage struct {
	containers map[string]int64 // what each has in its own layer and in its logs
	shared     int64            // volumes, and what is made for the pod
}

func (s *storage) total() int64 {
	sum := s.shared
	for _, n := range s.containers {
		sum += n
	}
	return sum
}

// storage measures all that counts against limits: layers, logs, and the pod's own volumes. What lies in memory does not
// count, nor do volumes that outlive the pod.
func (m *manager) storage(ctx context.Context, p *corev1.Pod, l *layers) (*storage, error) {
	written, err := l.of(ctx, string(p.UID))
	if err != nil {
		return nil, err
	}
	out := &storage{containers: map[string]int64{}}
	for name, bytes := range written {
		out.containers[name] += bytes
	}
	logs := m.paths.logs(p)
	entries, err := os.ReadDir(logs)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	for _, e := range entries {
		bytes, err := volume.Usage(ctx, filepath.Join(logs, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("measure logs: %w", err)
		}
		out.containers[e.Name()] += bytes
	}
	for _, dir := range slices.AppendSeq(m.madeFor(p.UID), maps.Values(m.ownVolumes(p))) {
		bytes, err := volume.Usage(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("measure files of pod: %w", err)
		}
		out.shared += bytes
	}
	return out, nil
}

// madeFor are the files and directories that were made for a pod beside its volumes: its hosts file, its last words.
func (m *manager) madeFor(uid types.UID) []string {
	dir := m.paths.pod(uid)
	entries, _ := os.ReadDir(dir) // most pods have none
	var out []string
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); path != m.paths.volumes(uid) {
			out = append(out, path)
		}
	}
	return out
}

// ownVolumes are the directories of the pod's volumes that go with it, by their names. Those of others are mounted among
// them, maybe from the same file system.
func (m *manager) ownVolumes(p *corev1.Pod) map[string]string {
	out := map[string]string{}
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; volume.Local(v) {
			out[v.Name] = filepath.Join(m.paths.volumes(p.UID), v.Name)
		}
	}
	return out
}

// layers are what containers have written beside volumes and logs. The runtimes are asked once a round, if at all.
type layers struct {
	m     *manager
	asked bool
	bytes map[string]map[string]int64 // by pod UID and the container's name
}

// of are the bytes in the layers of a pod's containers, by the containers' names.
func (l *layers) of(ctx context.Context, uid string) (map[string]int64, error) {
	if l.asked {
		return l.bytes[uid], nil
	}
	reading, err := l.m.usage.ReadNow(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for layers of containers: %w", err)
	}
	l.asked, l.bytes = true, map[string]map[string]int64{}
	for i := range reading.Containers {
		c := &reading.Containers[i]
		if c.Disk.Bytes == nil {
			continue
		}
		if l.bytes[c.Pod.UID] == nil {
			l.bytes[c.Pod.UID] = map[string]int64{}
		}
		l.bytes[c.Pod.UID][c.Name] += int64(*c.Disk.Bytes)
	}
	return l.bytes[uid], nil
}
