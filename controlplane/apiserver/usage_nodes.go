package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

const (
	// maxNodesAsked bounds the nodes that are asked at a time what their pods take.
	maxNodesAsked = 32
	// nodeUsageTimeout bounds one node's answer: it measures for a second, and writes down ten thousand pods.
	nodeUsageTimeout = 10 * time.Second
	// maxUsageBytes bounds it in size: ten thousand pods are about 8 MiB.
	maxUsageBytes = 64 << 20
	// summaryPath is where nodes tell, and windowHeader how long they measured.
	summaryPath  = "/stats/summary"
	windowHeader = "Petrel-Stats-Window"
)

// usage is what a node told of itself and its pods.
type usage struct {
	window time.Duration
	self   statsv1.NodeStats
	pods   map[types.UID]*statsv1.PodStats
}

// nodesOf are the nodes that the pods are on.
func (s *Server) nodesOf(ctx context.Context, pods []*store.Entry, nodes *resource.Definition) []*store.Entry {
	seen := map[string]bool{"": true}
	var out []*store.Entry
	for _, e := range pods {
		pod, ok := e.Object().(*corev1.Pod)
		if !ok || seen[pod.Spec.NodeName] {
			continue
		}
		seen[pod.Spec.NodeName] = true
		if node, err := s.registry.Get(ctx, nodes, "", pod.Spec.NodeName, false); err == nil {
			out = append(out, node)
		}
	}
	return out
}

// askNodes asks each node, several at a time. One that does not answer is left out: the others' figures are worth having.
func (s *Server) askNodes(ctx context.Context, nodes []*store.Entry) map[string]*usage {
	out := map[string]*usage{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(maxNodesAsked)
	for _, e := range nodes {
		group.Go(func() error {
			u, err := s.askNode(ctx, e)
			if err != nil {
				s.cfg.Logger.Debug("node did not tell what its pods take", "node", e.Name, "error", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out[e.Name] = u
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return out
}

// askNode asks one node what it and its pods take.
func (s *Server) askNode(ctx context.Context, node *store.Entry) (*usage, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeUsageTimeout)
	defer cancel()
	host, err := nodeAddress(node.Object())
	if err != nil {
		return nil, err
	}
	req, err := s.nodeRequest(ctx, node.Name, url.URL{Host: host, Path: summaryPath, RawQuery: "only_cpu_and_memory=true"})
	if err != nil {
		return nil, err
	}
	resp, err := s.cfg.NodeTransport.RoundTrip(req)
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s does not answer at %s: %v", node.Name, host, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s does not tell what its pods take: %s", node.Name, resp.Status))
	}
	u, err := readUsage(io.LimitReader(resp.Body, maxUsageBytes))
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s: %v", node.Name, err))
	}
	if window, err := time.ParseDuration(resp.Header.Get(windowHeader)); err == nil {
		u.window = window
	}
	return u, nil
}

func readUsage(body io.Reader) (*usage, error) {
	var summary statsv1.Summary
	if err := json.NewDecoder(body).Decode(&summary); err != nil {
		return nil, fmt.Errorf("read what its pods take: %w", err)
	}
	u := &usage{self: summary.Node, pods: make(map[types.UID]*statsv1.PodStats, len(summary.Pods))}
	for i := range summary.Pods {
		u.pods[types.UID(summary.Pods[i].PodRef.UID)] = &summary.Pods[i]
	}
	return u, nil
}

// node is the node's usage as metrics.k8s.io tells it.
func (u *usage) node(obj runtime.Object) metricsv1.NodeMetrics {
	out := metricsv1.NodeMetrics{Window: metav1.Duration{Duration: u.window}, Usage: corev1.ResourceList{}, Timestamp: metav1.Now()}
	if node, ok := obj.(*corev1.Node); ok {
		out.ObjectMeta = usageMeta(node)
	}
	fill(out.Usage, u.self.CPU, u.self.Memory)
	if cpu := u.self.CPU; cpu != nil {
		out.Timestamp = cpu.Time
	}
	return out
}

// pod is one pod's usage; false where nothing of it was measured. What is told are the containers of which both are known.
func (u *usage) pod(pod *corev1.Pod) (metricsv1.PodMetrics, bool) {
	out := metricsv1.PodMetrics{ObjectMeta: usageMeta(pod), Containers: []metricsv1.ContainerMetrics{}}
	if u == nil || u.pods[pod.UID] == nil {
		return out, false
	}
	out.Window = metav1.Duration{Duration: u.window}
	for i := range u.pods[pod.UID].Containers {
		c := &u.pods[pod.UID].Containers[i]
		one := metricsv1.ContainerMetrics{Name: c.Name, Usage: corev1.ResourceList{}}
		if fill(one.Usage, c.CPU, c.Memory); len(one.Usage) == 2 {
			out.Containers = append(out.Containers, one)
			out.Timestamp = c.CPU.Time
		}
	}
	return out, len(out.Containers) > 0
}

func fill(out corev1.ResourceList, cpu *statsv1.CPUStats, memory *statsv1.MemoryStats) {
	if cpu != nil && cpu.UsageNanoCores != nil {
		out[corev1.ResourceCPU] = *apiresource.NewScaledQuantity(int64(*cpu.UsageNanoCores), apiresource.Nano)
	}
	if memory != nil && memory.WorkingSetBytes != nil {
		out[corev1.ResourceMemory] = *apiresource.NewQuantity(int64(*memory.WorkingSetBytes), apiresource.BinarySI)
	}
}
