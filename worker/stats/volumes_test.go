package stats

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

func TestVolumesInTheSummary(t *testing.T) {
	rt := &fakeRuntime{}
	rt.set(used("a", "main", 1e9, 100), used("b", "main", 1e9, 100))
	host, dir := still(t), t.TempDir()
	s, err := NewServer(ServerConfig{
		Collector: newCollector(t, host, Source{Runtime: rt}), Host: host, Node: "node-1", Dir: t.TempDir(),
		Starts: func(string) Starts { return Starts{} }, Files: func(Pod) Files { return Files{} }, ImageDirs: func(context.Context) map[string]DiskUse { return nil },
		Volumes: func(uid string) []Volume {
			if uid != "uid-a" {
				return nil
			}
			return []Volume{{Name: "data", Claim: "claim", Path: dir}, {Name: "gone", Claim: "other", Path: filepath.Join(dir, "none")}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	reading, err := s.cfg.Collector.Read(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	full := s.summary(t.Context(), reading, false)
	got := full.Pods[0].VolumeStats
	if len(got) != 1 || got[0].Name != "data" || *got[0].PVCRef != (statsv1.PVCReference{Name: "claim", Namespace: "default"}) || *got[0].CapacityBytes == 0 ||
		*got[0].CapacityBytes != *got[0].UsedBytes+*got[0].AvailableBytes {
		t.Errorf("volumes = %+v", got)
	}
	if full.Pods[1].VolumeStats != nil || s.summary(t.Context(), reading, true).Pods[0].VolumeStats != nil {
		t.Error("a pod without volumes, or a brief summary, has some")
	}
}

func TestVolumeMetrics(t *testing.T) {
	dir := t.TempDir()
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewVolumeCollector(func() map[Claim]string {
		return map[Claim]string{{"default", "claim"}: dir, {"other", "same"}: dir, {"default", "gone"}: filepath.Join(dir, "none")}
	}))
	all := series(t, get(t, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), "/metrics"))
	for _, name := range []string{"capacity_bytes", "available_bytes", "used_bytes", "inodes", "inodes_free", "inodes_used"} {
		for _, labels := range []string{"namespace=default persistentvolumeclaim=claim", "namespace=other persistentvolumeclaim=same"} {
			if _, ok := all["kubelet_volume_stats_"+name+" "+labels]; !ok {
				t.Errorf("no %s of %s in %v", name, labels, all)
			}
		}
	}
	if len(all) != 12 {
		t.Errorf("%d series, want those of two claims: %v", len(all), all)
	}
}

// TestVolumesThatHang: a file system that has not answered yet is not asked again.
func TestVolumesThatHang(t *testing.T) {
	var d disks
	hangs, dir := t.TempDir(), t.TempDir()
	if !d.begin(hangs) {
		t.Fatal("nobody has asked")
	}
	paths := map[string]bool{hangs: true, dir: true}
	if got := d.read(paths); len(got) != 1 || got[dir] == nil {
		t.Errorf("read = %v", got)
	}
	d.end(hangs)
	if got := d.read(paths); len(got) != 2 {
		t.Errorf("read when it has answered = %v", got)
	}
}
