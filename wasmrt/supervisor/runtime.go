package supervisor

import (
	"context"
	"net/netip"
	"runtime"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// Versions that clients expect to read.
const (
	kubeletAPIVersion = "0.1.0" // the only one there has ever been
	criVersion        = "v1"
)

// Version tells who we are.
func (s *Supervisor) Version(context.Context, *runtimev1.VersionRequest) (*runtimev1.VersionResponse, error) {
	return &runtimev1.VersionResponse{Version: kubeletAPIVersion, RuntimeName: RuntimeName, RuntimeVersion: s.cfg.Version, RuntimeApiVersion: criVersion}, nil
}

// Status tells that we serve, and which handlers.
func (s *Supervisor) Status(ctx context.Context, r *runtimev1.StatusRequest) (*runtimev1.StatusResponse, error) {
	response := &runtimev1.StatusResponse{
		Status: &runtimev1.RuntimeStatus{Conditions: []*runtimev1.RuntimeCondition{
			{Type: runtimev1.RuntimeReady, Status: true},
			{Type: runtimev1.NetworkReady, Status: true}, // there is always a pod CIDR
		}},
		Features: &runtimev1.RuntimeFeatures{},
	}
	for _, name := range Handlers {
		response.RuntimeHandlers = append(response.RuntimeHandlers, &runtimev1.RuntimeHandler{Name: name, Features: &runtimev1.RuntimeHandlerFeatures{}})
	}
	if r.GetVerbose() {
		response.Info = info(s.describe(ctx))
	}
	return response, nil
}

// runtimeInfo is the verbose status.
type runtimeInfo struct {
	Version    string       `json:"version"`
	GoVersion  string       `json:"goVersion"`
	Root       string       `json:"root"`
	PodCIDR    string       `json:"podCIDR"`
	Sandboxes  int          `json:"sandboxes"`
	Containers int          `json:"containers"`
	Images     int          `json:"images"`
	Runners    []runnerInfo `json:"runners"`
	// Confinement is what is done to every runner: for each measure "on: " or "off: " and the particulars.
	Confinement map[string]string `json:"confinement"`
}

type runnerInfo struct {
	Namespace string `json:"namespace"`
	User      uint32 `json:"user"` // 0: the supervisor's own
	control.ProcessStats
	GroupMemoryBytes uint64            `json:"groupMemoryBytes"` // charged to its group, page cache too
	Confinement      map[string]string `json:"confinement"`      // what it did to itself
}

func (s *Supervisor) describe(ctx context.Context) runtimeInfo {
	s.mu.RLock()
	d := runtimeInfo{Version: s.cfg.Version, GoVersion: runtime.Version(), Root: s.cfg.Root, PodCIDR: s.addresses.cidr.String(),
		Sandboxes: len(s.sandboxes), Containers: len(s.containers), Images: len(s.images.List("")), Runners: []runnerInfo{}, Confinement: s.confined.report}
	s.mu.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for _, r := range s.fleet.All() {
		i := runnerInfo{Namespace: r.Namespace(), User: r.User(), GroupMemoryBytes: r.MemoryBytes(), Confinement: r.Confinement()}
		if err := r.Call(ctx, control.MethodPing, nil, &i.ProcessStats); err != nil {
			i.ProcessStats = control.ProcessStats{PID: r.PID()}
		}
		d.Runners = append(d.Runners, i)
	}
	return d
}

// RuntimeConfig tells the cgroup driver that clients must agree on.
func (s *Supervisor) RuntimeConfig(context.Context, *runtimev1.RuntimeConfigRequest) (*runtimev1.RuntimeConfigResponse, error) {
	return &runtimev1.RuntimeConfigResponse{Linux: &runtimev1.LinuxRuntimeConfiguration{CgroupDriver: runtimev1.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig sets where sandboxes get addresses from.
func (s *Supervisor) UpdateRuntimeConfig(_ context.Context, r *runtimev1.UpdateRuntimeConfigRequest) (*runtimev1.UpdateRuntimeConfigResponse, error) {
	cidr := r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	if cidr == "" {
		return &runtimev1.UpdateRuntimeConfigResponse{}, nil
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "pod CIDR %q cannot be read: %v", cidr, err)
	}
	if prefix.Bits() > prefix.Addr().BitLen()-2 {
		return nil, status.Errorf(codes.InvalidArgument, "pod CIDR %s has no room for pods", prefix)
	}
	if err := s.store.SaveRuntime(&state.Runtime{PodCIDR: prefix.Masked().String()}); err != nil {
		return nil, grpcError(err)
	}
	s.mu.Lock()
	s.addresses.setCIDR(prefix)
	s.mu.Unlock()
	return &runtimev1.UpdateRuntimeConfigResponse{}, nil
}

// CheckpointContainer is not served; the error tells why.
func (s *Supervisor) CheckpointContainer(context.Context, *runtimev1.CheckpointContainerRequest) (*runtimev1.CheckpointContainerResponse, error) {
	return nil, status.Error(codes.Unimplemented, "Wasm guests are not checkpointed: an HTTP guest keeps nothing between requests")
}

// UpdatePodSandboxResources accepts what the client did to the pod's cgroup: guests have none of their own.
func (s *Supervisor) UpdatePodSandboxResources(_ context.Context, r *runtimev1.UpdatePodSandboxResourcesRequest) (*runtimev1.UpdatePodSandboxResourcesResponse, error) {
	if _, err := s.findSandbox(r.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return &runtimev1.UpdatePodSandboxResourcesResponse{}, nil
}
