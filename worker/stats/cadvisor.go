package stats

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Labels of /metrics/cadvisor. id is the container's among the node's: the machine's own is "/".
var (
	cadvisorLabels = []string{"container", "id", "image", "name", "namespace", "pod"}
	cpuLabels      = append(slices.Clone(cadvisorLabels), "cpu")
	failureLabels  = append(slices.Clone(cadvisorLabels), "failure_type", "scope")
	networkLabels  = append(slices.Clone(cadvisorLabels), "interface")
)

// Names of /metrics/cadvisor, as dashboards know them.
var (
	cadvisorCPU      = prometheus.NewDesc("container_cpu_usage_seconds_total", "Processor time used.", cpuLabels, nil)
	cadvisorUsage    = prometheus.NewDesc("container_memory_usage_bytes", "Memory in use, page cache too.", cadvisorLabels, nil)
	cadvisorWorking  = prometheus.NewDesc("container_memory_working_set_bytes", "Memory in use that could not be given back at once.", cadvisorLabels, nil)
	cadvisorRSS      = prometheus.NewDesc("container_memory_rss", "Anonymous memory in use, in bytes.", cadvisorLabels, nil)
	cadvisorFailures = prometheus.NewDesc("container_memory_failures_total", "Page faults: pgmajfault are those that read the disk.", failureLabels, nil)
	cadvisorStart    = prometheus.NewDesc("container_start_time_seconds", "When it started, in seconds of Unix time.", cadvisorLabels, nil)
	cadvisorSeen     = prometheus.NewDesc("container_last_seen", "When it was measured, in seconds of Unix time.", cadvisorLabels, nil)
	cadvisorDisk     = prometheus.NewDesc("container_fs_usage_bytes", "What the container's own layer takes on disk.", cadvisorLabels, nil)
	cadvisorInodes   = prometheus.NewDesc("container_fs_inodes_used", "Inodes of the container's own layer.", cadvisorLabels, nil)
	cadvisorRx       = prometheus.NewDesc("container_network_receive_bytes_total", "Bytes received.", networkLabels, nil)
	cadvisorTx       = prometheus.NewDesc("container_network_transmit_bytes_total", "Bytes sent.", networkLabels, nil)
	cadvisorRxErrors = prometheus.NewDesc("container_network_receive_errors_total", "Errors of receiving.", networkLabels, nil)
	cadvisorTxErrors = prometheus.NewDesc("container_network_transmit_errors_total", "Errors of sending.", networkLabels, nil)
	machineCores     = prometheus.NewDesc("machine_cpu_cores", "Processors of the machine.", nil, nil)
	machineMemory    = prometheus.NewDesc("machine_memory_bytes", "Memory of the machine.", nil, nil)
	cadvisorFailed   = prometheus.NewDesc("container_scrape_error", "1 when a runtime did not tell what its containers take, else 0.", nil, nil)
)

// page writes the series of one thing that is measured.
type page struct {
	out    chan<- prometheus.Metric
	labels []string
}

func (p page) gauge(d *prometheus.Desc, v *uint64, more ...string) {
	if v != nil {
		p.out <- gauge(d, float64(*v), append(slices.Clone(p.labels), more...)...)
	}
}

func (p page) counter(d *prometheus.Desc, v *uint64, scale float64, more ...string) {
	if v != nil {
		p.out <- counter(d, float64(*v)/scale, append(slices.Clone(p.labels), more...)...)
	}
}

func (p page) memory(m Memory) {
	p.gauge(cadvisorUsage, m.Usage)
	p.gauge(cadvisorWorking, m.Working)
	p.gauge(cadvisorRSS, m.RSS)
	p.counter(cadvisorFailures, m.Faults, 1, "pgfault", "container")
	p.counter(cadvisorFailures, m.Major, 1, "pgmajfault", "container")
}

func (p page) networks(list []Interface) {
	for i := range list {
		one := &list[i]
		p.counter(cadvisorRx, &one.RxBytes, 1, one.Name)
		p.counter(cadvisorTx, &one.TxBytes, 1, one.Name)
		p.counter(cadvisorRxErrors, &one.RxErrors, 1, one.Name)
		p.counter(cadvisorTxErrors, &one.TxErrs, 1, one.Name)
	}
}

// cadvisor is the page /metrics/cadvisor.
func (s *Server) cadvisor(r *Reading, out chan<- prometheus.Metric) {
	m := r.Machine
	root := page{out, []string{"", "/", "", "", "", ""}}
	root.counter(cadvisorCPU, &m.CPUNanos, nanosPerSecond, "total")
	root.memory(Memory{Usage: &m.Memory.Usage, Working: &m.Memory.Working, RSS: &m.Memory.RSS, Faults: &m.Memory.Faults, Major: &m.Memory.Major})
	root.networks(s.cfg.Host.Interfaces())
	out <- gauge(cadvisorSeen, float64(m.Time.Unix()), root.labels...)
	out <- gauge(machineCores, float64(m.CPUs))
	out <- gauge(machineMemory, float64(m.Memory.Total))
	for group := range podsOf(r.Containers) {
		s.cadvisorOf(r, group, out)
	}
	failed := 0.0
	if r.Failed != nil {
		failed = 1
	}
	out <- gauge(cadvisorFailed, failed)
}

// cadvisorOf tells of one pod: its containers, and its network, which they share.
func (s *Server) cadvisorOf(r *Reading, group []Container, out chan<- prometheus.Metric) {
	starts := s.cfg.Starts(group[0].Pod.UID)
	for i := range group {
		c := &group[i]
		p := page{out, valid(c.Name, "/pod"+c.Pod.UID+"/"+c.ID, c.Image, c.ID, c.Pod.Namespace, c.Pod.Name)}
		p.counter(cadvisorCPU, c.CPUNanos, nanosPerSecond, "total")
		p.memory(c.Memory)
		p.gauge(cadvisorDisk, c.Disk.Bytes)
		p.gauge(cadvisorInodes, c.Disk.Inodes)
		if start := starts.Containers[c.Name]; !start.IsZero() {
			out <- gauge(cadvisorStart, float64(start.Unix()), p.labels...)
		}
		out <- gauge(cadvisorSeen, float64(c.Time.Unix()), p.labels...)
	}
	pod := group[0].Pod
	page{out, valid("", "/pod"+pod.UID, "", "", pod.Namespace, pod.Name)}.networks(r.Networks[pod.UID])
}
