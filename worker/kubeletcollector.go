package worker

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/stats"
)

// kubeletCollector counts what is there when it is asked.
type kubeletCollector struct {
	m                                                   *manager
	node, running, containers, desired, active, mirrors *prometheus.Desc
}

func newKubeletCollector(m *manager) *kubeletCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kubelet_"+name, help, labels, nil)
	}
	return &kubeletCollector{
		m: m, node: desc("node_name", "The node's name; always 1.", "node"),
		running:    desc("running_pods", "Pods with a sandbox that runs."),
		containers: desc("running_containers", "Containers by state.", "container_state"),
		desired:    desc("desired_pods", "Pods that the node was told to run; static ones come from its own directory.", "static"),
		active:     desc("active_pods", "Pods that have not ended.", "static"),
		mirrors:    desc("mirror_pods", "Static pods that the API is to show."),
	}
}

// Describe implements prometheus.Collector.
func (c *kubeletCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.node, c.running, c.containers, c.desired, c.active, c.mirrors} {
		out <- d
	}
}

// podCounts are numbers of pods; [1] of static ones.
type podCounts struct {
	running         int
	desired, active [2]int
	containers      map[pod.State]int
}

func (m *manager) counts() podCounts {
	out := podCounts{containers: map[pod.State]int{pod.Created: 0, pod.Running: 0, pod.Exited: 0, pod.Unknown: 0}}
	for _, a := range m.all() {
		shown, static := a.snapshot(), 0
		if a.static {
			static = 1
		}
		out.desired[static]++
		if !pod.Terminal(shown.phase) {
			out.active[static]++
		}
		for _, b := range shown.sandboxes {
			if b.ready {
				out.running++
				break
			}
		}
		for _, i := range shown.instances {
			out.containers[i.state]++
		}
	}
	return out
}

// stateNames are kubelet's.
var stateNames = map[pod.State]string{pod.Created: "created", pod.Running: "running", pod.Exited: "exited", pod.Unknown: "unknown"}

// Collect implements prometheus.Collector.
func (c *kubeletCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counts := c.m.counts()
	gauge(c.node, 1, c.m.cfg.NodeName)
	gauge(c.running, counts.running)
	for state, n := range counts.containers {
		gauge(c.containers, n, stateNames[state])
	}
	for static, label := range []string{"", "true"} {
		gauge(c.desired, counts.desired[static], label)
		gauge(c.active, counts.active[static], label)
	}
	gauge(c.mirrors, counts.active[1])
}

// volumesOf are those of the pod that are behind claims.
func (m *manager) volumesOf(uid string) []stats.Volume {
	if a := m.actor(types.UID(uid)); a != nil {
		return a.snapshot().claims
	}
	return nil
}

// allVolumes are the volumes behind claims of all pods that run.
func (m *manager) allVolumes() map[stats.Claim]string {
	out := map[stats.Claim]string{}
	for _, a := range m.all() {
		shown := a.snapshot()
		for _, v := range shown.claims {
			out[stats.Claim{Namespace: shown.pod.Namespace, Name: v.Claim}] = v.Path
		}
	}
	return out
}

// claimsShown are the pod's volumes behind claims that are there.
func (a *actor) claimsShown() []stats.Volume {
	if !a.view.Prepared {
		return nil
	}
	var out []stats.Volume
	for i := range a.view.Pod.Spec.Volumes {
		v := &a.view.Pod.Spec.Volumes[i]
		claim := ""
		switch {
		case v.PersistentVolumeClaim != nil:
			claim = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			claim = a.view.Pod.Name + "-" + v.Name
		}
		if at := a.host.Path(v.Name); claim != "" && at != "" {
			out = append(out, stats.Volume{Name: v.Name, Claim: claim, Path: at})
		}
	}
	return out
}
