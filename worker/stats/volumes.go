package stats

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Volume is a volume of a pod, the claim that it is behind, and where it is.
type Volume struct{ Name, Claim, Path string }

// Claim names a PersistentVolumeClaim.
type Claim struct{ Namespace, Name string }

// diskWait bounds the wait for file systems to tell their sizes: one that is on a network may never answer.
const diskWait = time.Second

// disks asks for the sizes of volumes' file systems. Where one hangs, nobody waits longer than diskWait, and it is not
// asked again before it has answered: there is never more than one goroutine a path.
type disks struct {
	mu   sync.Mutex
	busy map[string]bool
}

// read answers the sizes by path; those that cannot be had are missing.
func (d *disks) read(paths map[string]bool) map[string]*Disk {
	out := map[string]*Disk{}
	type answer struct {
		path string
		disk *Disk
	}
	answers, asked := make(chan answer, len(paths)), 0
	for path := range paths {
		if !d.begin(path) {
			continue
		}
		asked++
		go func() {
			disk, err := ReadDisk(path)
			if err != nil {
				disk = nil // it is on its way out, or never came
			}
			d.end(path)
			answers <- answer{path, disk}
		}()
	}
	for limit := time.After(diskWait); asked > 0; asked-- {
		select {
		case a := <-answers:
			if a.disk != nil {
				out[a.path] = a.disk
			}
		case <-limit:
			return out
		}
	}
	return out
}

func (d *disks) begin(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[path] {
		return false
	}
	if d.busy == nil {
		d.busy = map[string]bool{}
	}
	d.busy[path] = true
	return true
}

func (d *disks) end(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, path)
}

// volumes are those of all pods that are measured, by the pods' UIDs, and the sizes of their file systems by path.
type volumes struct {
	all  map[string][]Volume
	read map[string]*Disk
}

func (s *Server) readVolumes(r *Reading) volumes {
	out, paths := volumes{all: map[string][]Volume{}}, map[string]bool{}
	if s.cfg.Volumes == nil {
		return out
	}
	for group := range podsOf(r.Containers) {
		uid := group[0].Pod.UID
		out.all[uid] = s.cfg.Volumes(uid)
		for _, v := range out.all[uid] {
			paths[v.Path] = true
		}
	}
	out.read = s.disks.read(paths)
	return out
}

// of is what the pod's volumes have, in the summary's form.
func (v volumes) of(pod Pod) []statsv1.VolumeStats {
	var out []statsv1.VolumeStats
	for _, one := range v.all[pod.UID] {
		if disk := v.read[one.Path]; disk != nil {
			out = append(out, statsv1.VolumeStats{Name: one.Name, FsStats: *fsOf(disk), PVCRef: &statsv1.PVCReference{Name: one.Claim, Namespace: pod.Namespace}})
		}
	}
	return out
}

// Names of volumes' figures, as kubelet has them.
var (
	ofClaim         = []string{"namespace", "persistentvolumeclaim"}
	volumeCapacity  = prometheus.NewDesc("kubelet_volume_stats_capacity_bytes", "Size of the volume.", ofClaim, nil)
	volumeAvailable = prometheus.NewDesc("kubelet_volume_stats_available_bytes", "Bytes of the volume that can be written.", ofClaim, nil)
	volumeUsed      = prometheus.NewDesc("kubelet_volume_stats_used_bytes", "Bytes of the volume that cannot be written any more.", ofClaim, nil)
	volumeInodes    = prometheus.NewDesc("kubelet_volume_stats_inodes", "Inodes of the volume.", ofClaim, nil)
	volumeFree      = prometheus.NewDesc("kubelet_volume_stats_inodes_free", "Inodes of the volume that are free.", ofClaim, nil)
	volumeTaken     = prometheus.NewDesc("kubelet_volume_stats_inodes_used", "Inodes of the volume that are taken.", ofClaim, nil)
)

// VolumeCollector tells of the volumes behind claims on a node's page of metrics.
type VolumeCollector struct {
	all   func() map[Claim]string
	disks disks
}

// NewVolumeCollector makes one; all tells where the volumes behind claims are.
func NewVolumeCollector(all func() map[Claim]string) *VolumeCollector {
	return &VolumeCollector{all: all}
}

// Describe implements prometheus.Collector.
func (c *VolumeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{volumeCapacity, volumeAvailable, volumeUsed, volumeInodes, volumeFree, volumeTaken} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *VolumeCollector) Collect(out chan<- prometheus.Metric) {
	all, paths := c.all(), map[string]bool{}
	for _, path := range all {
		paths[path] = true
	}
	read := c.disks.read(paths)
	for claim, path := range all {
		disk := read[path]
		if disk == nil {
			continue
		}
		fs, labels := fsOf(disk), valid(claim.Namespace, claim.Name)
		for d, v := range map[*prometheus.Desc]*uint64{
			volumeCapacity: fs.CapacityBytes, volumeAvailable: fs.AvailableBytes, volumeUsed: fs.UsedBytes,
			volumeInodes: fs.Inodes, volumeFree: fs.InodesFree, volumeTaken: fs.InodesUsed,
		} {
			out <- gauge(d, float64(*v), labels...)
		}
	}
}
