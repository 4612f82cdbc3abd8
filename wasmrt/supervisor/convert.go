package supervisor

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// The functions of this file that belong to a sandbox or container want Supervisor.mu to be held.

func (b *sandbox) state() runtimev1.PodSandboxState {
	if b.record.Ready {
		return runtimev1.PodSandboxState_SANDBOX_READY
	}
	return runtimev1.PodSandboxState_SANDBOX_NOTREADY
}

func (b *sandbox) status() *runtimev1.PodSandboxStatus {
	config, network := b.config.sandboxConfig(), &runtimev1.PodSandboxNetworkStatus{}
	if b.record.Ready { // afterwards the address may be another's
		first, more, _ := strings.Cut(b.record.Address, ",")
		if network.Ip = first; more != "" {
			network.AdditionalIps = []*runtimev1.PodIP{{Ip: more}}
		}
	}
	return &runtimev1.PodSandboxStatus{
		Id: b.record.ID, Metadata: config.GetMetadata(), State: b.state(), CreatedAt: b.record.CreatedAt, Network: network,
		Linux:  &runtimev1.LinuxPodSandboxStatus{Namespaces: &runtimev1.Namespace{Options: config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
		Labels: config.GetLabels(), Annotations: config.GetAnnotations(), RuntimeHandler: b.record.RuntimeHandler,
	}
}

func (b *sandbox) item() *runtimev1.PodSandbox {
	config := b.config.sandboxConfig()
	return &runtimev1.PodSandbox{
		Id: b.record.ID, Metadata: config.GetMetadata(), State: b.state(), CreatedAt: b.record.CreatedAt,
		Labels: config.GetLabels(), Annotations: config.GetAnnotations(), RuntimeHandler: b.record.RuntimeHandler,
	}
}

// containerStatuses answers those of all containers, the oldest first.
func (b *sandbox) containerStatuses() []*runtimev1.ContainerStatus {
	list := make([]*runtimev1.ContainerStatus, 0, len(b.containers))
	for _, c := range b.containers {
		list = append(list, c.status())
	}
	slices.SortFunc(list, func(x, y *runtimev1.ContainerStatus) int {
		return cmp.Or(cmp.Compare(x.CreatedAt, y.CreatedAt), cmp.Compare(x.Id, y.Id))
	})
	return list
}

var containerStates = map[control.State]runtimev1.ContainerState{
	control.StateCreated: runtimev1.ContainerState_CONTAINER_CREATED,
	control.StateRunning: runtimev1.ContainerState_CONTAINER_RUNNING,
	control.StateExited:  runtimev1.ContainerState_CONTAINER_EXITED,
}

func (c *container) state() runtimev1.ContainerState { return containerStates[c.record.Status.State] }

func (c *container) imageSpec(config *runtimev1.ContainerConfig) *runtimev1.ImageSpec {
	asked := config.GetImage()
	return &runtimev1.ImageSpec{Image: asked.GetImage(), UserSpecifiedImage: asked.GetUserSpecifiedImage(),
		Annotations: asked.GetAnnotations(), RuntimeHandler: c.sandbox.record.RuntimeHandler}
}

func (c *container) status() *runtimev1.ContainerStatus {
	s, config := c.record.Status, c.config.containerConfig()
	return &runtimev1.ContainerStatus{
		Id: c.record.ID, Metadata: config.GetMetadata(), State: c.state(), CreatedAt: s.CreatedAt, StartedAt: s.StartedAt,
		FinishedAt: s.FinishedAt, ExitCode: s.ExitCode, Reason: s.Reason, Message: s.Message, Image: c.imageSpec(config),
		ImageRef: c.record.ImageRef, ImageId: c.record.ImageID, Labels: config.GetLabels(), Annotations: config.GetAnnotations(),
		Mounts: config.GetMounts(), LogPath: c.record.LogPath,
		Resources: &runtimev1.ContainerResources{Linux: &runtimev1.LinuxContainerResources{MemoryLimitInBytes: int64(s.MemoryLimit)}},
	}
}

func (c *container) item() *runtimev1.Container {
	config := c.config.containerConfig()
	return &runtimev1.Container{
		Id: c.record.ID, PodSandboxId: c.record.SandboxID, Metadata: config.GetMetadata(), Image: c.imageSpec(config),
		ImageRef: c.record.ImageRef, ImageId: c.record.ImageID, State: c.state(), CreatedAt: c.record.Status.CreatedAt,
		Labels: config.GetLabels(), Annotations: config.GetAnnotations(),
	}
}

// petrelInfo is what the verbose status tells under the key petrel, for whoever reports it to users.
type petrelInfo struct {
	Digest          string `json:"digest"`      // of the module's bytes
	ImageDigest     string `json:"imageDigest"` // of the image's manifest
	Kind            string `json:"kind"`
	CompileMicros   int64  `json:"compileMicros"`
	CompileCached   bool   `json:"compileCached"`
	ColdStartMicros int64  `json:"coldStartMicros"`

	ABI         string            `json:"abi,omitempty"`
	ABIReason   string            `json:"abiReason,omitempty"`
	Isolation   string            `json:"isolation,omitempty"`
	Snapshot    string            `json:"snapshot,omitempty"` // yes, or why there is none
	ColdStart   control.ColdStart `json:"coldStart"`
	Failures    control.Failures  `json:"failures"`
	LastFailure *lastFailure      `json:"lastFailure,omitempty"`
}

// lastFailure is control's, with its time as JSON writes times.
type lastFailure struct {
	Code     string    `json:"code"`
	Detail   string    `json:"detail"`
	Function string    `json:"function,omitempty"`
	Time     time.Time `json:"time"`
	Count    uint64    `json:"count"`
}

// infoKey is the key of verbose infos.
const infoKey = "petrel"

func containerInfo(r *state.Container) map[string]string {
	s := &r.Status
	i := petrelInfo{Digest: r.Module, ImageDigest: r.ImageID, Kind: s.Kind, CompileMicros: s.CompileMicros, CompileCached: s.CompileCached,
		ColdStartMicros: s.ColdStartMicros, ABI: s.ABI, ABIReason: s.ABIReason, Isolation: s.Isolation, Snapshot: s.Snapshot,
		ColdStart: s.ColdStart, Failures: s.Failures}
	if f := s.LastFailure; f.Code != "" {
		i.LastFailure = &lastFailure{Code: f.Code, Detail: f.Detail, Function: f.Function, Time: time.Unix(0, f.Time).UTC(), Count: f.Count}
	}
	return info(i)
}

func info(v any) map[string]string {
	raw, err := json.Marshal(v)
	if err != nil { // plain structs always marshal
		return nil
	}
	return map[string]string{infoKey: string(raw)}
}

// matches says whether the labels are those selected. Nobody's labels are looked at when none are.
func (b *sandbox) matches(selector map[string]string) bool {
	return len(selector) == 0 || matches(b.config.sandboxConfig().GetLabels(), selector)
}

func (c *container) matches(selector map[string]string) bool {
	return len(selector) == 0 || matches(c.config.containerConfig().GetLabels(), selector)
}

func matches(labels, selector map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
