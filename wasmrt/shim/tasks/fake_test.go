package tasks

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime is a runtime without guests: a test says what becomes of its containers.
type fakeRuntime struct {
	mu         sync.Mutex
	n          int
	sandboxes  map[string]*runtimev1.PodSandboxConfig
	stopped    map[string]bool
	containers map[string]*runtimev1.ContainerStatus
	configs    map[string]*runtimev1.ContainerConfig
	images     map[string]bool
	imported   []string // contents of modules, in order
	stops      []int64  // timeouts, in order
	fail       map[string]error
	stubborn   bool // containers end by a stop only when it has no grace
	away       int  // how many stops find no runtime
	updated    int64
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{sandboxes: map[string]*runtimev1.PodSandboxConfig{}, stopped: map[string]bool{}, containers: map[string]*runtimev1.ContainerStatus{},
		configs: map[string]*runtimev1.ContainerConfig{}, images: map[string]bool{}, fail: map[string]error{}}
}

// enter locks, and answers the error that the test wants of a call.
func (f *fakeRuntime) enter(call string) error {
	f.mu.Lock()
	return f.fail[call]
}

func (f *fakeRuntime) RunPodSandbox(_ context.Context, r *runtimev1.RunPodSandboxRequest, _ ...grpc.CallOption) (*runtimev1.RunPodSandboxResponse, error) {
	err := f.enter("RunPodSandbox")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	f.n++
	id := fmt.Sprint("pod", f.n)
	f.sandboxes[id] = r.Config
	return &runtimev1.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (f *fakeRuntime) StopPodSandbox(_ context.Context, r *runtimev1.StopPodSandboxRequest, _ ...grpc.CallOption) (*runtimev1.StopPodSandboxResponse, error) {
	err := f.enter("StopPodSandbox")
	defer f.mu.Unlock()
	f.stopped[r.PodSandboxId] = true
	return &runtimev1.StopPodSandboxResponse{}, err
}

func (f *fakeRuntime) RemovePodSandbox(_ context.Context, r *runtimev1.RemovePodSandboxRequest, _ ...grpc.CallOption) (*runtimev1.RemovePodSandboxResponse, error) {
	err := f.enter("RemovePodSandbox")
	defer f.mu.Unlock()
	if err == nil {
		delete(f.sandboxes, r.PodSandboxId)
	}
	return &runtimev1.RemovePodSandboxResponse{}, err
}

func (f *fakeRuntime) PodSandboxStatus(context.Context, *runtimev1.PodSandboxStatusRequest, ...grpc.CallOption) (*runtimev1.PodSandboxStatusResponse, error) {
	return &runtimev1.PodSandboxStatusResponse{Info: map[string]string{"petrel": `{"runnerPid":4242}`}}, nil
}

func (f *fakeRuntime) ListPodSandbox(context.Context, *runtimev1.ListPodSandboxRequest, ...grpc.CallOption) (*runtimev1.ListPodSandboxResponse, error) {
	err := f.enter("ListPodSandbox")
	defer f.mu.Unlock()
	r := &runtimev1.ListPodSandboxResponse{}
	for _, id := range slices.Sorted(maps.Keys(f.sandboxes)) {
		state := runtimev1.PodSandboxState_SANDBOX_READY
		if f.stopped[id] {
			state = runtimev1.PodSandboxState_SANDBOX_NOTREADY
		}
		r.Items = append(r.Items, &runtimev1.PodSandbox{Id: id, State: state})
	}
	return r, err
}

func (f *fakeRuntime) CreateContainer(_ context.Context, r *runtimev1.CreateContainerRequest, _ ...grpc.CallOption) (*runtimev1.CreateContainerResponse, error) {
	err := f.enter("CreateContainer")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	f.n++
	id := fmt.Sprint("guest", f.n)
	f.configs[id] = r.Config
	f.containers[id] = &runtimev1.ContainerStatus{Id: id, State: runtimev1.ContainerState_CONTAINER_CREATED}
	return &runtimev1.CreateContainerResponse{ContainerId: id}, nil
}

func (f *fakeRuntime) StartContainer(_ context.Context, r *runtimev1.StartContainerRequest, _ ...grpc.CallOption) (*runtimev1.StartContainerResponse, error) {
	err := f.enter("StartContainer")
	defer f.mu.Unlock()
	if err == nil {
		f.containers[r.ContainerId].State = runtimev1.ContainerState_CONTAINER_RUNNING
	}
	return &runtimev1.StartContainerResponse{}, err
}

func (f *fakeRuntime) StopContainer(_ context.Context, r *runtimev1.StopContainerRequest, _ ...grpc.CallOption) (*runtimev1.StopContainerResponse, error) {
	err := f.enter("StopContainer")
	defer f.mu.Unlock()
	if f.away > 0 {
		f.away--
		return nil, status.Error(codes.Unavailable, "away")
	}
	f.stops = append(f.stops, r.Timeout)
	if c := f.containers[r.ContainerId]; c != nil && (r.Timeout == 0 || !f.stubborn) {
		f.exit(c, exitKilled, "Error")
	}
	return &runtimev1.StopContainerResponse{}, err
}

// exit wants the mutex to be held.
func (f *fakeRuntime) exit(c *runtimev1.ContainerStatus, code int32, reason string) {
	c.State, c.ExitCode, c.Reason, c.FinishedAt = runtimev1.ContainerState_CONTAINER_EXITED, code, reason, time.Unix(5, 0).UnixNano()
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, r *runtimev1.RemoveContainerRequest, _ ...grpc.CallOption) (*runtimev1.RemoveContainerResponse, error) {
	err := f.enter("RemoveContainer")
	defer f.mu.Unlock()
	if err == nil {
		delete(f.containers, r.ContainerId)
		delete(f.configs, r.ContainerId)
	}
	return &runtimev1.RemoveContainerResponse{}, err
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, r *runtimev1.ContainerStatusRequest, _ ...grpc.CallOption) (*runtimev1.ContainerStatusResponse, error) {
	err := f.enter("ContainerStatus")
	defer f.mu.Unlock()
	c := f.containers[r.ContainerId]
	if err == nil && c == nil {
		err = status.Error(codes.NotFound, "no such container")
	}
	if err != nil {
		return nil, err
	}
	copied := &runtimev1.ContainerStatus{Id: c.Id, State: c.State, ExitCode: c.ExitCode, FinishedAt: c.FinishedAt, Reason: c.Reason}
	return &runtimev1.ContainerStatusResponse{Status: copied}, nil
}

func (f *fakeRuntime) ContainerStats(context.Context, *runtimev1.ContainerStatsRequest, ...grpc.CallOption) (*runtimev1.ContainerStatsResponse, error) {
	return &runtimev1.ContainerStatsResponse{Stats: &runtimev1.ContainerStats{
		Cpu:    &runtimev1.CpuUsage{UsageCoreNanoSeconds: &runtimev1.UInt64Value{Value: 3_000_000}},
		Memory: &runtimev1.MemoryUsage{WorkingSetBytes: &runtimev1.UInt64Value{Value: 4096}},
	}}, f.fail["ContainerStats"]
}

func (f *fakeRuntime) ListContainers(context.Context, *runtimev1.ListContainersRequest, ...grpc.CallOption) (*runtimev1.ListContainersResponse, error) {
	err := f.enter("ListContainers")
	defer f.mu.Unlock()
	r := &runtimev1.ListContainersResponse{}
	for id, c := range f.configs {
		r.Containers = append(r.Containers, &runtimev1.Container{Id: id, Image: c.Image})
	}
	return r, err
}

func (f *fakeRuntime) UpdateContainerResources(_ context.Context, r *runtimev1.UpdateContainerResourcesRequest, _ ...grpc.CallOption) (*runtimev1.UpdateContainerResourcesResponse, error) {
	err := f.enter("UpdateContainerResources")
	defer f.mu.Unlock()
	f.updated = r.Linux.MemoryLimitInBytes
	return &runtimev1.UpdateContainerResourcesResponse{}, err
}

// ExecSync answers what the arguments say; "hang" ends with the call's context.
func (f *fakeRuntime) ExecSync(ctx context.Context, r *runtimev1.ExecSyncRequest, _ ...grpc.CallOption) (*runtimev1.ExecSyncResponse, error) {
	err := f.enter("ExecSync")
	f.mu.Unlock()
	if r.Cmd[0] == "hang" {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err != nil {
		return nil, err
	}
	return &runtimev1.ExecSyncResponse{Stdout: []byte(fmt.Sprintln(r.ContainerId, r.Cmd)), Stderr: []byte("noted\n"), ExitCode: 5}, nil
}

func (f *fakeRuntime) ImageStatus(_ context.Context, r *runtimev1.ImageStatusRequest, _ ...grpc.CallOption) (*runtimev1.ImageStatusResponse, error) {
	err := f.enter("ImageStatus")
	defer f.mu.Unlock()
	if !f.images[r.Image.Image] {
		return &runtimev1.ImageStatusResponse{}, err
	}
	return &runtimev1.ImageStatusResponse{Image: &runtimev1.Image{RepoTags: []string{r.Image.Image}}}, err
}

func (f *fakeRuntime) PullImage(_ context.Context, r *runtimev1.PullImageRequest, _ ...grpc.CallOption) (*runtimev1.PullImageResponse, error) {
	err := f.enter("PullImage")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(r.Image.Annotations["petrel.run/module-file"])
	f.images[r.Image.Image] = true
	f.imported = append(f.imported, string(raw))
	return &runtimev1.PullImageResponse{}, err
}

func (f *fakeRuntime) ListImages(context.Context, *runtimev1.ListImagesRequest, ...grpc.CallOption) (*runtimev1.ListImagesResponse, error) {
	err := f.enter("ListImages")
	defer f.mu.Unlock()
	r := &runtimev1.ListImagesResponse{}
	for name := range f.images {
		r.Images = append(r.Images, &runtimev1.Image{RepoTags: []string{name}})
	}
	return r, err
}

func (f *fakeRuntime) RemoveImage(_ context.Context, r *runtimev1.RemoveImageRequest, _ ...grpc.CallOption) (*runtimev1.RemoveImageResponse, error) {
	err := f.enter("RemoveImage")
	defer f.mu.Unlock()
	delete(f.images, r.Image.Image)
	return &runtimev1.RemoveImageResponse{}, err
}

// empty says what is left.
func (f *fakeRuntime) empty() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sandboxes)+len(f.containers) > 0 {
		return fmt.Errorf("left are %d sandboxes, %d containers", len(f.sandboxes), len(f.containers))
	}
	return nil
}
