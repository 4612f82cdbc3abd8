package stats

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Starts are when a pod and the newest instances of its containers began; zero where nobody knows.
type Starts struct {
	Pod        time.Time
	Containers map[string]time.Time
}

// summary is the reading as kubelet's /stats/summary tells it. What stands on disks is left out of a brief one.
func (s *Server) summary(ctx context.Context, r *Reading, brief bool) *statsv1.Summary {
	out := &statsv1.Summary{Node: s.node(ctx, r, brief), Pods: []statsv1.PodStats{}}
	var volumes volumes
	if !brief {
		volumes = s.readVolumes(r)
	}
	for group := range podsOf(r.Containers) {
		out.Pods = append(out.Pods, s.pod(r, group, volumes, brief))
	}
	return out
}

// podsOf yields the containers pod by pod: a reading has them in that order.
func podsOf(all []Container) func(func([]Container) bool) {
	return func(yield func([]Container) bool) {
		for len(all) > 0 {
			n := slices.IndexFunc(all, func(c Container) bool { return c.Pod != all[0].Pod })
			if n < 0 {
				n = len(all)
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}

func (s *Server) node(ctx context.Context, r *Reading, brief bool) statsv1.NodeStats {
	m, at := r.Machine, metav1.NewTime(r.Machine.Time)
	out := statsv1.NodeStats{
		NodeName: s.cfg.Node, StartTime: metav1.NewTime(s.cfg.Host.Boot()),
		CPU: &statsv1.CPUStats{Time: at, UsageNanoCores: r.NanoCores, UsageCoreNanoSeconds: &m.CPUNanos},
		Memory: &statsv1.MemoryStats{
			Time: at, AvailableBytes: &m.Memory.Available, UsageBytes: &m.Memory.Usage, WorkingSetBytes: &m.Memory.Working,
			RSSBytes: &m.Memory.RSS, PageFaults: &m.Memory.Faults, MajorPageFaults: &m.Memory.Major,
		},
	}
	if brief {
		return out
	}
	out.Rlimit = &statsv1.RlimitStats{Time: at, MaxPID: &m.PIDs.Max, NumOfRunningProcesses: &m.PIDs.Used}
	out.Network = networkOf(s.cfg.Host.Interfaces(), at)
	if disk, err := ReadDisk(s.cfg.Dir); err == nil {
		out.Fs = fsOf(disk)
	}
	if images := s.images(ctx); images != nil {
		out.Runtime = &statsv1.RuntimeStats{ImageFs: images, ContainerFs: images}
	}
	return out
}

func fsOf(d *Disk) *statsv1.FsStats {
	used, inodes := d.Total-min(d.Total, d.Available), d.Inodes-min(d.Inodes, d.InodesFree)
	return &statsv1.FsStats{
		Time: metav1.NewTime(d.Time), AvailableBytes: &d.Available, CapacityBytes: &d.Total, UsedBytes: &used,
		InodesFree: &d.InodesFree, Inodes: &d.Inodes, InodesUsed: &inodes,
	}
}

func networkOf(list []Interface, at metav1.Time) *statsv1.NetworkStats {
	if len(list) == 0 {
		return nil
	}
	out := &statsv1.NetworkStats{Time: at}
	for i := range list {
		one := &list[i]
		out.Interfaces = append(out.Interfaces, statsv1.InterfaceStats{
			Name: one.Name, RxBytes: &one.RxBytes, TxBytes: &one.TxBytes, RxErrors: &one.RxErrors, TxErrors: &one.TxErrs,
		})
	}
	out.InterfaceStats = out.Interfaces[0]
	return out
}

// pod tells of one pod: its containers, and what they take together.
func (s *Server) pod(r *Reading, group []Container, volumes volumes, brief bool) statsv1.PodStats {
	first := &group[0]
	at := metav1.NewTime(first.Time)
	starts := s.cfg.Starts(first.Pod.UID)
	out := statsv1.PodStats{
		PodRef:    statsv1.PodReference{Namespace: first.Pod.Namespace, Name: first.Pod.Name, UID: first.Pod.UID},
		StartTime: metav1.NewTime(starts.Pod), Containers: []statsv1.ContainerStats{},
		CPU: &statsv1.CPUStats{Time: at}, Memory: &statsv1.MemoryStats{Time: at},
	}
	for i := range group {
		c := &group[i]
		out.Containers = append(out.Containers, containerStats(c, starts.Containers[c.Name], brief))
		add(&out.CPU.UsageCoreNanoSeconds, c.CPUNanos)
		add(&out.CPU.UsageNanoCores, c.NanoCores)
		add(&out.Memory.UsageBytes, c.Memory.Usage)
		add(&out.Memory.WorkingSetBytes, c.Memory.Working)
		add(&out.Memory.RSSBytes, c.Memory.RSS)
		add(&out.Memory.PageFaults, c.Memory.Faults)
		add(&out.Memory.MajorPageFaults, c.Memory.Major)
	}
	if brief {
		return out
	}
	out.Network = networkOf(r.Networks[first.Pod.UID], at)
	files := s.cfg.Files(first.Pod)
	use := files.Total()
	for i := range group {
		use.add(group[i].Disk)
		if logs, ok := files.Logs[group[i].Name]; ok {
			out.Containers[i].Logs = usedOf(at, logs)
		}
	}
	out.VolumeStats = volumes.of(first.Pod)
	for _, name := range slices.Sorted(maps.Keys(files.Volumes)) {
		out.VolumeStats = append(out.VolumeStats, statsv1.VolumeStats{Name: name, FsStats: *usedOf(at, files.Volumes[name])})
	}
	out.EphemeralStorage = usedOf(at, use)
	return out
}

func usedOf(at metav1.Time, use DiskUse) *statsv1.FsStats {
	return &statsv1.FsStats{Time: at, UsedBytes: use.Bytes, InodesUsed: use.Inodes}
}

// add makes sum the sum of both; what was never measured stays so.
func add(sum **uint64, n *uint64) {
	if n == nil {
		return
	}
	total := *n + *cmp.Or(*sum, new(uint64))
	*sum = &total
}

func containerStats(c *Container, start time.Time, brief bool) statsv1.ContainerStats {
	at := metav1.NewTime(c.Time)
	out := statsv1.ContainerStats{Name: c.Name, StartTime: metav1.NewTime(start)}
	if c.CPUNanos != nil || c.NanoCores != nil {
		out.CPU = &statsv1.CPUStats{Time: at, UsageNanoCores: c.NanoCores, UsageCoreNanoSeconds: c.CPUNanos}
	}
	if c.Memory != (Memory{}) {
		out.Memory = &statsv1.MemoryStats{
			Time: at, AvailableBytes: c.Memory.Available, UsageBytes: c.Memory.Usage, WorkingSetBytes: c.Memory.Working,
			RSSBytes: c.Memory.RSS, PageFaults: c.Memory.Faults, MajorPageFaults: c.Memory.Major,
		}
	}
	if c.Disk != (DiskUse{}) && !brief {
		out.Rootfs = usedOf(at, c.Disk)
	}
	return out
}
