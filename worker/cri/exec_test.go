package cri_test

import (
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/cri/crifake"
)

func TestExecSync(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	fake := crifake.New()
	fake.AddImage("idle", crifake.Idle)
	if err := fake.Serve(socket); err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	client := newClient(t, cri.Config{Endpoint: socket})
	sandbox := &runtimev1.PodSandboxConfig{Metadata: &runtimev1.PodSandboxMetadata{Name: "p", Namespace: "n", Uid: "u"}}
	sandboxID, err := client.RunPodSandbox(t.Context(), sandbox, "")
	if err != nil {
		t.Fatal(err)
	}
	image := &runtimev1.ImageSpec{Image: "idle"}
	if _, err := client.PullImage(t.Context(), image, nil, sandbox); err != nil {
		t.Fatal(err)
	}
	id, err := client.CreateContainer(t.Context(), sandboxID, &runtimev1.ContainerConfig{Metadata: &runtimev1.ContainerMetadata{Name: "c"}, Image: image}, sandbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.ExecSync(t.Context(), id, []string{"exit", "0"}, time.Second); cri.Code(err) != codes.FailedPrecondition {
		t.Errorf("command in a container that does not run: %v", err)
	}
	if err := client.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	got, err := client.ExecSync(t.Context(), id, []string{"print", "out", "complain", "err", "exit", "3"}, time.Second)
	if err != nil || got.ExitCode != 3 || string(got.Stdout) != "out\n" || string(got.Stderr) != "err\n" {
		t.Errorf("command left %+v, %v", got, err)
	}
	if _, err := client.ExecSync(t.Context(), id, []string{"sleep", "60000"}, 100*time.Millisecond); cri.Code(err) != codes.DeadlineExceeded {
		t.Errorf("command that takes too long: %v", err)
	}
	if _, err := client.ExecSync(t.Context(), "none", []string{"exit", "0"}, time.Second); !cri.IsNotFound(err) {
		t.Errorf("command in no container: %v", err)
	}
}
