package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
)

// Labels of what is made in the runtime.
const (
	// LabelOwner says which shim made a sandbox; LabelTask is containerd's id.
	LabelOwner = "petrel.run/shim"
	LabelTask  = "petrel.run/task"
)

const (
	annotationPrefix = "petrel.run/"
	// annotationNetns names the network namespace that a sandbox lives in.
	annotationNetns = annotationPrefix + "netns"
	// annotationPorts is where kubelets tell a container's ports.
	annotationPorts = "io.kubernetes.container.ports"
	// handler is the runtime's handler for guests.
	handler = "wasm"
	// infoKey is the key of the runtime's verbose answers.
	infoKey = "petrel"
)

// ours are the annotations that this side writes: what a pod says of them is not handed on.
var ours = map[string]bool{annotationNetns: true, annotationPrefix + "pod-ip": true, annotationPrefix + "module-file": true}

// runSandbox makes the runtime's sandbox, in the network namespace that containerd made or the host's.
func (s *Service) runSandbox(ctx context.Context, t *task, config *bundle.Config) error {
	dns, err := bundle.ReadDNS(config.MountSource("/etc/resolv.conf"))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	pod := &runtimev1.PodSandboxConfig{
		Metadata: &runtimev1.PodSandboxMetadata{Name: orElse(config.Pod, t.id), Namespace: orElse(config.Namespace, s.cfg.Namespace), Uid: t.id},
		Hostname: config.Hostname, LogDirectory: s.cfg.Dir, DnsConfig: dns,
		Labels:      map[string]string{LabelOwner: s.cfg.Owner, LabelTask: t.id},
		Annotations: runtimeAnnotations(config),
	}
	pod.Annotations[annotationNetns] = networkNamespace(config)
	response, err := s.cfg.Runtime.RunPodSandbox(ctx, &runtimev1.RunPodSandboxRequest{Config: pod, RuntimeHandler: handler})
	if err != nil {
		return wrap(err, "run sandbox")
	}
	t.podID = response.PodSandboxId
	if pid := s.runnerPID(ctx, t.podID); pid != 0 {
		t.pid = pid
	}
	return nil
}

// networkNamespace is a path of the one to live in. The host's is that of this process: runtimes are its children.
func networkNamespace(config *bundle.Config) string {
	if config.NetworkNamespace != "" {
		return filepath.Clean(config.NetworkNamespace)
	}
	return fmt.Sprintf("/proc/%d/ns/net", os.Getpid())
}

// runtimeAnnotations are those that say how guests are run.
func runtimeAnnotations(config *bundle.Config) map[string]string {
	out := map[string]string{}
	for k, v := range config.Annotations {
		if strings.HasPrefix(k, annotationPrefix) && !ours[k] {
			out[k] = v
		}
	}
	return out
}

// runnerPID asks which process runs a sandbox's guests. containerd wants a process for each task, and shows it.
func (s *Service) runnerPID(ctx context.Context, podID string) uint32 {
	r, err := s.cfg.Runtime.PodSandboxStatus(ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: podID, Verbose: true})
	if err != nil {
		return 0
	}
	var info struct {
		RunnerPID uint32 `json:"runnerPid"`
	}
	if err := json.Unmarshal([]byte(r.GetInfo()[infoKey]), &info); err != nil {
		return 0
	}
	return info.RunnerPID
}

func orElse(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}

// wrap puts what was done before an error of the runtime, whose code stays.
func wrap(err error, what string) error {
	s := status.Convert(err)
	return status.Errorf(s.Code(), "%s: %s", what, s.Message())
}
