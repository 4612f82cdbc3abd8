package worker

import (
	"errors"
	"os"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sized(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}}
}

func sizedPod(cpu, memory string, policy ...corev1.ContainerResizePolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources, p.Spec.Containers[0].ResizePolicy = sized(cpu, memory), policy
		p.Status.QOSClass = corev1.PodQOSBurstable
	}
}

// resize changes a pod's resources as the API does.
func (n *testNode) resize(name, cpu, memory string) {
	n.Helper()
	n.patching.Lock()
	defer n.patching.Unlock()
	p := n.get(name).DeepCopy()
	p.Spec.Containers[0].Resources = sized(cpu, memory)
	p.Generation++
	p.ResourceVersion = strconv.FormatUint(n.version.Add(1), 10)
	if _, err := n.client.CoreV1().Pods("default").Update(n.Context(), p, metav1.UpdateOptions{}); err != nil {
		n.Fatal(err)
	}
}

func conditionOf(p *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// has waits until the pod's container has so much, by its status and by the runtime, and nothing is left to do.
func (n *testNode) has(name, cpu, memory string) *corev1.Pod {
	n.Helper()
	want := sized(cpu, memory)
	p := n.until(name, "its resize to "+cpu+", "+memory+" to be told", func(p *corev1.Pod) bool {
		if len(p.Status.ContainerStatuses) == 0 {
			return false
		}
		s := p.Status.ContainerStatuses[0]
		return s.Resources != nil && s.Resources.Limits.Memory().Equal(*want.Limits.Memory()) && s.Resources.Requests.Cpu().Equal(*want.Requests.Cpu()) &&
			s.AllocatedResources.Memory().Equal(*want.Requests.Memory()) && conditionOf(p, corev1.PodResizePending).Status == "" && conditionOf(p, corev1.PodResizeInProgress).Status == ""
	})
	if got := n.runtime.Resources("uid-"+name, "main"); len(got) != 1 || got[0].GetMemoryLimitInBytes() != want.Limits.Memory().Value() || got[0].GetCpuShares() != max(2, want.Requests.Cpu().MilliValue()*1024/1000) {
		n.Errorf("the runtime has %v of %s", got, name)
	}
	n.eventually("nothing to be written down of it", func() bool {
		_, err := os.Stat(paths(n.cfg.RootDir).resize(p.UID))
		return errors.Is(err, os.ErrNotExist)
	})
	return p
}

func TestResizeInPlace(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", sizedPod("10m", "64Mi")))
	n.ready("a")
	started := n.has("a", "10m", "64Mi").Status.ContainerStatuses[0]
	for _, size := range [][2]string{{"20m", "128Mi"}, {"5m", "32Mi"}} {
		n.resize("a", size[0], size[1])
		if s := n.has("a", size[0], size[1]).Status.ContainerStatuses[0]; s.RestartCount != 0 || s.ContainerID != started.ContainerID {
			t.Errorf("the container was restarted: %+v", s)
		}
	}
	n.event("a", eventResizeStarted)
	n.event("a", eventResizeCompleted)
}

func TestResizeByRestart(t *testing.T) {
	n := newTestNode(t)
	policy := corev1.ContainerResizePolicy{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}
	n.create(testPod("a", "idle", sizedPod("10m", "64Mi", policy)))
	n.ready("a")
	n.resize("a", "20m", "64Mi") // of the CPU there is no such policy
	if s := n.has("a", "20m", "64Mi").Status.ContainerStatuses[0]; s.RestartCount != 0 {
		t.Errorf("the container was restarted for its CPU: %+v", s)
	}
	n.resize("a", "20m", "128Mi")
	if s := n.has("a", "20m", "128Mi").Status.ContainerStatuses[0]; s.RestartCount != 1 {
		t.Errorf("the container was not restarted for its memory: %+v", s)
	}
}

// TestResizesThatCannotBe leave the pod as it is, and say why.
func TestResizesThatCannotBe(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", sizedPod("10m", "64Mi")))
	n.ready("a")
	n.resize("a", "5k", "128Mi")
	p := n.until("a", "it to be infeasible", func(p *corev1.Pod) bool {
		return conditionOf(p, corev1.PodResizePending).Reason == corev1.PodReasonInfeasible
	})
	if s := p.Status.ContainerStatuses[0]; !s.AllocatedResources.Cpu().Equal(resource.MustParse("10m")) || !s.Resources.Limits.Memory().Equal(resource.MustParse("64Mi")) {
		t.Errorf("status %+v", s)
	}
	if got := n.runtime.Resources("uid-a", "main")[0]; got.GetMemoryLimitInBytes() != 64<<20 {
		t.Errorf("the runtime has %v", got)
	}
	n.restart() // what it was granted is not forgotten
	n.until("a", "it to be infeasible again", func(p *corev1.Pod) bool {
		return conditionOf(p, corev1.PodResizePending).Reason == corev1.PodReasonInfeasible && p.Status.ContainerStatuses[0].AllocatedResources.Cpu().MilliValue() == 10
	})
	n.resize("a", "10m", "64Mi") // its owner gives up
	n.has("a", "10m", "64Mi")

	node, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.create(testPod("b", "idle", sizedPod(node.Status.Allocatable.Cpu().String(), "1Mi")))
	n.ready("b")
	n.resize("a", "20m", "64Mi")
	n.until("a", "it to be deferred", func(p *corev1.Pod) bool {
		return conditionOf(p, corev1.PodResizePending).Reason == corev1.PodReasonDeferred
	})
	n.delete("b", 0)
	n.has("a", "20m", "64Mi")
}

// TestResizeGoesOn in spite of a runtime that fails and of a worker that begins anew, also when the resize came meanwhile.
func TestResizeGoesOn(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle", sizedPod("10m", "64Mi")))
	n.ready("a")
	n.runtime.Fail("UpdateContainerResources", errors.New("no"))
	n.resize("a", "20m", "128Mi")
	p := n.until("a", "the failure to be told", func(p *corev1.Pod) bool {
		return conditionOf(p, corev1.PodResizeInProgress).Reason == corev1.PodReasonError
	})
	if s := p.Status.ContainerStatuses[0]; s.AllocatedResources.Memory().Value() != 128<<20 || s.Resources.Limits.Memory().Value() != 64<<20 {
		t.Errorf("status %+v", s)
	}
	n.event("a", eventResizeError)
	n.stop()
	n.runtime.Fail("UpdateContainerResources", nil)
	n.start()
	n.has("a", "20m", "128Mi")
	n.stop()
	n.resize("a", "30m", "256Mi")
	n.start()
	if s := n.has("a", "30m", "256Mi").Status.ContainerStatuses[0]; s.RestartCount != 0 {
		t.Errorf("the container was restarted: %+v", s)
	}
}
