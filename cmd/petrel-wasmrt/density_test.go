package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// warmUp is how many pods are there before others are counted.
const warmUp = 20

// TestIdlePods counts what a pod costs beyond the first, as the worker describes one: labels, annotations, a token's
// volume. With PETREL_SOAK=1 there are ten thousand.
func TestIdlePods(t *testing.T) {
	pods, most := 500, 20.0 // KiB; the garbage of starting weighs more when there are few
	if os.Getenv("PETREL_SOAK") != "" {
		pods, most = 10_000, 10
	}
	if len(raceFlags) > 0 {
		t.Skip("the race detector's memory is not the program's")
	}
	n := newNode(t, "--trust-annotations") // as the worker, which gives addresses of its own
	image, _ := n.reg.push("x/hello", wasmtest.Serve("hello", "", 0))
	n.pull(image)
	n.startMany(image, warmUp) // pools, buffers, connections
	time.Sleep(3 * time.Second)
	before := n.resident()

	begin := time.Now()
	list := n.startMany(image, pods)
	took := time.Since(begin)
	var runner, supervisor float64
	eventually(t, "the garbage of starting to be given back", func() bool {
		after := n.resident()
		runner, supervisor = float64(after[0]-before[0])/float64(pods), float64(after[1]-before[1])/float64(pods)
		return runner <= most && supervisor <= most
	})
	var cpu int64
	eventually(t, "the runner to be idle", func() bool { // its collector may have had something left to do
		before := n.runners()["default"].CPUNanos
		time.Sleep(time.Second)
		cpu = n.runners()["default"].CPUNanos - before
		return time.Duration(cpu) <= 50*time.Millisecond
	})
	t.Logf("%d pods in %v (%.0f/s); runner %.1f KiB a pod, supervisor %.1f KiB a pod; runner's CPU in an idle second %v",
		pods, took, float64(pods)/took.Seconds(), runner, supervisor, time.Duration(cpu))
	// What a first request leaves goes when the pod sleeps again.
	for _, p := range list {
		n.wantAnswer(p, "hello")
	}
	eventually(t, "pods that have answered to give back what that took", func() bool {
		return float64(n.resident()[0]-before[0])/float64(pods) <= most
	})
	t.Logf("runner %.1f KiB a pod after each has answered", float64(n.resident()[0]-before[0])/float64(pods))
	begin = time.Now()
	n.removeAll(list)
	t.Logf("removed in %v", time.Since(begin))
	if got := n.runners()["default"].Containers; got != warmUp {
		t.Errorf("%d containers are left, want %d", got, warmUp)
	}
}

// removeAll stops and removes pods as a worker does, all at once.
func (n *node) removeAll(list []*pod) {
	n.t.Helper()
	var wg sync.WaitGroup
	for _, p := range list {
		wg.Go(func() {
			labels := map[string]string{"io.kubernetes.pod.uid": p.config.Metadata.Uid}
			found, err := n.rt.ListContainers(n.ctx(), &runtimev1.ListContainersRequest{Filter: &runtimev1.ContainerFilter{LabelSelector: labels}})
			if err != nil || len(found.Containers) != 1 {
				n.t.Errorf("containers of a pod: %v, %v", found, err)
				return
			}
			if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: found.Containers[0].Id, Timeout: 30}); err != nil {
				n.t.Error(err)
			}
			if _, err := n.rt.RemovePodSandbox(n.ctx(), &runtimev1.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
				n.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// resident answers KiB of the runner and of the supervisor.
func (n *node) resident() [2]int {
	return [2]int{residentKiB(n.t, n.runners()["default"].PID), residentKiB(n.t, n.cmd.Process.Pid)}
}

// startMany starts that many pods, eight at a time.
func (n *node) startMany(image string, pods int) []*pod {
	n.t.Helper()
	list := make([]*pod, pods)
	next := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range next {
				list[i] = n.startLikeWorker(image)
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
	return list
}

// startLikeWorker starts a pod with what the worker says of each.
func (n *node) startLikeWorker(image string) *pod {
	i := sequence.Add(1)
	uid := fmt.Sprintf("6f1c2a3e-0000-4000-8000-%012d", i)
	name := fmt.Sprintf("web-5d8f7c9b6d-%05d", i)
	config := &runtimev1.PodSandboxConfig{
		Metadata: &runtimev1.PodSandboxMetadata{Name: name, Namespace: "default", Uid: uid}, Hostname: name,
		LogDirectory: filepath.Join(n.root, "logs", "default_"+name+"_"+uid),
		PortMappings: []*runtimev1.PortMapping{{ContainerPort: 8080}},
		Labels: map[string]string{"app": "web", "pod-template-hash": "5d8f7c9b6d", "petrel.run/app": "web", "petrel.run/version": "1",
			"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": uid},
		Annotations: map[string]string{"petrel.run/pod-ip": fmt.Sprintf("127.%d.%d.%d", 43+i/62500, i/250%250, i%250+1), "petrel.run/isolation": "reset"},
	}
	sandbox, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: config})
	if err != nil {
		n.t.Error(err)
		return nil
	}
	token := filepath.Join(n.root, "token")
	_ = os.MkdirAll(token, 0o755)
	c, err := n.rt.CreateContainer(n.ctx(), &runtimev1.CreateContainerRequest{PodSandboxId: sandbox.PodSandboxId, Config: &runtimev1.ContainerConfig{
		Metadata: &runtimev1.ContainerMetadata{Name: "web"}, Image: &runtimev1.ImageSpec{Image: image}, LogPath: "web/0.log",
		Envs:        []*runtimev1.KeyValue{{Key: "PORT", Value: []byte("8080")}, {Key: "KUBERNETES_SERVICE_HOST", Value: []byte("127.0.0.1")}},
		Mounts:      []*runtimev1.Mount{{ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", HostPath: token, Readonly: true}},
		Labels:      map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": uid, "io.kubernetes.container.name": "web"},
		Annotations: map[string]string{"io.kubernetes.container.restartCount": "0", "io.kubernetes.container.hash": "abcdef01"},
	}})
	if err == nil {
		_, err = n.rt.StartContainer(n.ctx(), &runtimev1.StartContainerRequest{ContainerId: c.ContainerId})
	}
	if err != nil {
		n.t.Error(err)
	}
	return &pod{id: sandbox.PodSandboxId, ip: config.Annotations["petrel.run/pod-ip"], config: config}
}
