package runtimes_test

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/cri/crifake"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// image is the one that a kind's runtime has to pull.
func image(kind runtimes.Kind) *runtimev1.ImageSpec {
	if kind == runtimes.KindWasm {
		return &runtimev1.ImageSpec{Image: string(kind), RuntimeHandler: runtimes.HandlerWasm}
	}
	return &runtimev1.ImageSpec{Image: string(kind)}
}

// node is a set over two fakes.
type node struct {
	*testing.T
	*runtimes.Set
	wasm, oci *crifake.Runtime
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{T: t, wasm: crifake.New(), oci: crifake.New()}
	var clients []*cri.Client
	for name, fake := range map[string]*crifake.Runtime{"wasm": n.wasm, "oci": n.oci} {
		fake.AddImage(name, crifake.Idle)
	}
	for _, fake := range []*crifake.Runtime{n.wasm, n.oci} {
		socket := filepath.Join(t.TempDir(), "cri.sock")
		if err := fake.Serve(socket); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fake.Close)
		client, err := cri.New(cri.Config{Endpoint: socket})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	set, err := runtimes.New(runtimes.Config{Wasm: clients[0], Containerd: clients[1]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	n.Set = set
	return n
}

func sandbox(uid string, kind runtimes.Kind) *runtimev1.PodSandboxConfig {
	return &runtimev1.PodSandboxConfig{
		Metadata:    &runtimev1.PodSandboxMetadata{Name: uid, Namespace: "default", Uid: uid},
		Labels:      map[string]string{"io.kubernetes.pod.uid": uid},
		Annotations: map[string]string{runtimes.AnnotationKind: string(kind)},
	}
}

func container(name string, kind runtimes.Kind) *runtimev1.ContainerConfig {
	return &runtimev1.ContainerConfig{
		Metadata: &runtimev1.ContainerMetadata{Name: name}, Image: &runtimev1.ImageSpec{Image: string(kind)},
		Annotations: map[string]string{runtimes.AnnotationKind: string(kind)},
	}
}

func (n *node) run(uid string, kind runtimes.Kind, containers ...runtimes.Kind) (id string, ids []string) {
	n.Helper()
	config := sandbox(uid, kind)
	id, err := n.RunPodSandbox(n.Context(), config, "")
	if err != nil {
		n.Fatal(err)
	}
	for _, c := range containers {
		if _, err := n.PullImage(n.Context(), image(c), nil, nil); err != nil {
			n.Fatal(err)
		}
		cid, err := n.CreateContainer(n.Context(), id, container(string(c), c), config)
		if err == nil {
			err = n.StartContainer(n.Context(), cid)
		}
		if err != nil {
			n.Fatal(err)
		}
		ids = append(ids, cid)
	}
	return id, ids
}

func TestEachKindHasItsRuntime(t *testing.T) {
	n := newNode(t)
	w, ws := n.run("w", runtimes.KindWasm, runtimes.KindWasm)
	o, os := n.run("o", runtimes.KindOCI, runtimes.KindOCI)
	for id, runtime := range map[string]string{w: runtimes.Wasm, ws[0]: runtimes.Wasm, o: runtimes.Containerd, os[0]: runtimes.Containerd} {
		if !strings.HasPrefix(id, runtime+"://") {
			t.Errorf("%s is not of %s", id, runtime)
		}
	}
	if n.wasm.Sandboxes() != 1 || n.oci.Sandboxes() != 1 {
		t.Errorf("%d and %d sandboxes", n.wasm.Sandboxes(), n.oci.Sandboxes())
	}
	for _, id := range []string{ws[0], os[0]} {
		if s, _, err := n.ContainerStatus(t.Context(), id, false); err != nil || s.GetId() != id {
			t.Errorf("status of %s: %s, %v", id, s.GetId(), err)
		}
		if err := n.StopContainer(t.Context(), id, time.Second); err != nil {
			t.Error(err)
		}
		if err := n.RemoveContainer(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if all, err := n.ListContainers(t.Context(), nil); err != nil || len(all) != 0 {
		t.Errorf("%d containers are left: %v", len(all), err)
	}
}

// TestPodOfBothKinds is one sandbox to whoever looks.
func TestPodOfBothKinds(t *testing.T) {
	n := newNode(t)
	n.run("other", runtimes.KindWasm)
	id, ids := n.run("both", runtimes.KindBoth, runtimes.KindOCI, runtimes.KindWasm)
	if n.wasm.Sandboxes() != 2 || n.oci.Sandboxes() != 1 || !strings.HasPrefix(id, runtimes.Containerd) {
		t.Fatalf("%d and %d sandboxes, the pod's is %s", n.wasm.Sandboxes(), n.oci.Sandboxes(), id)
	}
	filter := &runtimev1.PodSandboxFilter{LabelSelector: map[string]string{"io.kubernetes.pod.uid": "both"}}
	all, err := n.ListPodSandbox(t.Context(), filter)
	if err != nil || len(all) != 1 || all[0].GetId() != id || all[0].GetState() != runtimev1.PodSandboxState_SANDBOX_READY {
		t.Errorf("listed are %v, %v", all, err)
	}
	containers, err := n.ListContainers(t.Context(), nil)
	if err != nil || len(containers) != 2 {
		t.Fatalf("%d containers, %v", len(containers), err)
	}
	for _, c := range containers {
		if c.GetPodSandboxId() != id || !slices.Contains(ids, c.GetId()) {
			t.Errorf("container %s of sandbox %s", c.GetId(), c.GetPodSandboxId())
		}
	}
	if err := n.StopPodSandbox(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if s, err := n.PodSandboxStatus(t.Context(), id); err != nil || s.GetId() != id || s.GetState() != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("status after the stop: %v, %v", s, err)
	}
	for range 2 { // the second time there is nothing
		if err := n.RemovePodSandbox(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if n.wasm.Sandboxes() != 1 || n.oci.Sandboxes() != 0 {
		t.Errorf("%d and %d sandboxes are left", n.wasm.Sandboxes(), n.oci.Sandboxes())
	}
}

// TestHalfAPod: where one half of a pod of both kinds is gone, the other is of no use and can be removed.
func TestHalfAPod(t *testing.T) {
	n := newNode(t)
	id, _ := n.run("lost", runtimes.KindBoth, runtimes.KindWasm)
	n.wasm.LoseSandbox("lost")
	all, err := n.ListPodSandbox(t.Context(), nil)
	if err != nil || len(all) != 1 || all[0].GetId() != id || all[0].GetState() != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("without the Wasm half: %v, %v", all, err)
	}
	if err := n.RemovePodSandbox(t.Context(), id); err != nil {
		t.Fatal(err)
	}

	id, _ = n.run("lost", runtimes.KindBoth, runtimes.KindOCI)
	containerd := n.Members()[1]
	if err := containerd.Client.RemovePodSandbox(t.Context(), strings.TrimPrefix(id, containerd.ID(""))); err != nil {
		t.Fatal(err)
	}
	all, err = n.ListPodSandbox(t.Context(), nil)
	if err != nil || len(all) != 1 || !n.Members()[0].Owns(all[0].GetId()) || all[0].GetState() != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		t.Fatalf("without containerd's half: %v, %v", all, err)
	}
	if err := n.RemovePodSandbox(t.Context(), all[0].GetId()); err != nil {
		t.Fatal(err)
	}
	if n.wasm.Sandboxes() != 0 {
		t.Errorf("%d sandboxes are left", n.wasm.Sandboxes())
	}
}

// TestFailedHalf: a pod of both kinds is made whole or not at all.
func TestFailedHalf(t *testing.T) {
	n := newNode(t)
	n.wasm.Fail("RunPodSandbox", context.DeadlineExceeded)
	if _, err := n.RunPodSandbox(t.Context(), sandbox("p", runtimes.KindBoth), ""); err == nil {
		t.Fatal("the sandbox runs")
	}
	if n.oci.Sandboxes() != 0 {
		t.Errorf("containerd's half is left")
	}
}

// TestAwayFailsItsOwn: one runtime's absence is no other's.
func TestAwayFailsItsOwn(t *testing.T) {
	n := newNode(t)
	_, ws := n.run("w", runtimes.KindWasm, runtimes.KindWasm)
	_, os := n.run("o", runtimes.KindOCI, runtimes.KindOCI)
	n.oci.Hang()
	if _, _, err := n.ContainerStatus(t.Context(), ws[0], false); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := n.ContainerStatus(ctx, os[0], false); !cri.IsUnavailable(err) {
		t.Errorf("containerd is away, and answers %v", err)
	}
	if _, err := n.ListPodSandbox(ctx, nil); !cri.IsUnavailable(err) {
		t.Errorf("a listing is not whole, and no error: %v", err)
	}
}

func TestIDsOfNobody(t *testing.T) {
	n := newNode(t)
	for _, id := range []string{"", "x", "://", "docker://x", runtimes.Wasm + "://"} {
		if _, err := n.PodSandboxStatus(t.Context(), id); !cri.IsNotFound(err) {
			t.Errorf("%q: %v", id, err)
		}
		if err := n.StopPodSandbox(t.Context(), id); err != nil {
			t.Errorf("stopping what is not there: %v", err)
		}
	}
}

func TestImagesByTheirHandler(t *testing.T) {
	n := newNode(t)
	for image, handler := range map[string]string{"wasm": runtimes.HandlerWasm, "oci": ""} {
		if ref, err := n.PullImage(t.Context(), &runtimev1.ImageSpec{Image: image, RuntimeHandler: handler}, nil, nil); err != nil || ref == "" {
			t.Errorf("%s: %q, %v", image, ref, err)
		}
		if got, err := n.ImageStatus(t.Context(), &runtimev1.ImageSpec{Image: image, RuntimeHandler: handler}); err != nil || got == nil {
			t.Errorf("%s is not there: %v", image, err)
		}
	}
	if _, err := n.PullImage(t.Context(), &runtimev1.ImageSpec{Image: "oci", RuntimeHandler: runtimes.HandlerWasm}, nil, nil); err == nil {
		t.Error("petrel-wasmrt has containerd's image")
	}
}

// TestEventsNameTheSet has events of both kinds of containers in a pod name the pod's one sandbox.
func TestEventsNameTheSet(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan *runtimev1.ContainerEventResponse, 1000)
	done := make(chan struct{}, 2)
	for _, m := range n.Members() {
		opened := make(chan struct{})
		go func() {
			_ = m.Events(ctx, func() { close(opened) }, func(e *runtimev1.ContainerEventResponse) { heard <- e })
			done <- struct{}{}
		}()
		<-opened
	}
	// A stream may begin a little later than it says: what it misses comes again with the next pod.
	for attempt, told := 0, false; !told; attempt++ {
		if attempt == 100 {
			t.Fatal("no pod's events were told")
		}
		uid := "both-" + strconv.Itoa(attempt)
		id, ids := n.run(uid, runtimes.KindBoth, runtimes.KindOCI, runtimes.KindWasm)
		told = hears(heard, id, ids)
	}
	cancel()
	<-done
	<-done
}

// hears waits a little for events of the containers.
func hears(heard chan *runtimev1.ContainerEventResponse, sandbox string, ids []string) bool {
	missing := map[string]bool{}
	for _, id := range ids {
		missing[id] = true
	}
	patience := time.After(500 * time.Millisecond)
	for len(missing) > 0 {
		select {
		case e := <-heard:
			if e.GetPodSandboxStatus().GetId() == sandbox {
				delete(missing, e.GetContainerId())
			}
		case <-patience:
			return false
		}
	}
	return true
}
