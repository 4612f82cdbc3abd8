package crifake

import (
	"context"
	"maps"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const runtimeNotReady = runtimev1.PodSandboxState_SANDBOX_NOTREADY

// podIPAnnotation names the address that the worker wants the sandbox to have.
const podIPAnnotation = "petrel.run/pod-ip"

type sandbox struct {
	id      string
	config  *runtimev1.PodSandboxConfig
	handler string
	state   runtimev1.PodSandboxState
	created time.Time
}

func (s *sandbox) uid() string {
	if s == nil {
		return ""
	}
	return s.config.GetMetadata().GetUid()
}

func (s *sandbox) ip() string { return s.config.GetAnnotations()[podIPAnnotation] }

func (s *service) Version(context.Context, *runtimev1.VersionRequest) (*runtimev1.VersionResponse, error) {
	return &runtimev1.VersionResponse{Version: "0.1.0", RuntimeName: "crifake", RuntimeVersion: "1", RuntimeApiVersion: "v1"}, nil
}

func (s *service) Status(_ context.Context, req *runtimev1.StatusRequest) (*runtimev1.StatusResponse, error) {
	out := &runtimev1.StatusResponse{Status: &runtimev1.RuntimeStatus{Conditions: []*runtimev1.RuntimeCondition{
		{Type: runtimev1.RuntimeReady, Status: true}, {Type: runtimev1.NetworkReady, Status: true},
	}}}
	if req.GetVerbose() {
		out.Info = map[string]string{"petrel": "{}"}
	}
	return out, nil
}

func (s *service) UpdateRuntimeConfig(_ context.Context, req *runtimev1.UpdateRuntimeConfigRequest) (*runtimev1.UpdateRuntimeConfigResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.podCIDR = req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	return &runtimev1.UpdateRuntimeConfigResponse{}, nil
}

func (s *service) RunPodSandbox(_ context.Context, req *runtimev1.RunPodSandboxRequest) (*runtimev1.RunPodSandboxResponse, error) {
	meta := req.GetConfig().GetMetadata()
	if meta.GetName() == "" || meta.GetNamespace() == "" || meta.GetUid() == "" {
		return nil, status.Error(codes.InvalidArgument, "sandbox metadata needs name, namespace and uid")
	}
	if h := req.GetRuntimeHandler(); h != "" && h != "wasm" {
		return nil, status.Errorf(codes.InvalidArgument, "no runtime for handler %q", h)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.sandboxes {
		m := other.config.GetMetadata()
		if m.GetUid() == meta.GetUid() && m.GetAttempt() == meta.GetAttempt() {
			return nil, status.Errorf(codes.AlreadyExists, "sandbox %s/%s attempt %d exists", meta.GetNamespace(), meta.GetName(), meta.GetAttempt())
		}
	}
	b := &sandbox{id: newID(), config: req.GetConfig(), handler: req.GetRuntimeHandler(), created: time.Now()}
	s.sandboxes[b.id] = b
	return &runtimev1.RunPodSandboxResponse{PodSandboxId: b.id}, nil
}

func (s *service) StopPodSandbox(_ context.Context, req *runtimev1.StopPodSandboxRequest) (*runtimev1.StopPodSandboxResponse, error) {
	for _, c := range s.setNotReady(req.GetPodSandboxId()) {
		c.stop(0)
	}
	return &runtimev1.StopPodSandboxResponse{}, nil
}

func (s *service) RemovePodSandbox(_ context.Context, req *runtimev1.RemovePodSandboxRequest) (*runtimev1.RemovePodSandboxResponse, error) {
	inside := s.setNotReady(req.GetPodSandboxId())
	for _, c := range inside {
		c.stop(0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range inside {
		delete(s.containers, c.id)
	}
	delete(s.sandboxes, req.GetPodSandboxId())
	return &runtimev1.RemovePodSandboxResponse{}, nil
}

// setNotReady returns the sandbox's containers.
func (r *Runtime) setNotReady(id string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[id]; s != nil {
		s.state = runtimeNotReady
	}
	var inside []*container
	for _, c := range r.containers {
		if c.sandboxID == id {
			inside = append(inside, c)
		}
	}
	return inside
}

func (s *service) PodSandboxStatus(_ context.Context, req *runtimev1.PodSandboxStatusRequest) (*runtimev1.PodSandboxStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.sandboxes[req.GetPodSandboxId()]
	if b == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	}
	out := &runtimev1.PodSandboxStatusResponse{Status: b.status()}
	if req.GetVerbose() {
		out.Info = map[string]string{"petrel": "{}"}
	}
	return out, nil
}

func (s *sandbox) status() *runtimev1.PodSandboxStatus {
	ip := s.ip()
	if s.state == runtimeNotReady {
		ip = ""
	}
	return &runtimev1.PodSandboxStatus{
		Id: s.id, Metadata: s.config.GetMetadata(), State: s.state, CreatedAt: s.created.UnixNano(),
		Network: &runtimev1.PodSandboxNetworkStatus{Ip: ip}, Linux: &runtimev1.LinuxPodSandboxStatus{},
		Labels: maps.Clone(s.config.GetLabels()), Annotations: maps.Clone(s.config.GetAnnotations()), RuntimeHandler: s.handler,
	}
}

func (s *service) ListPodSandbox(_ context.Context, req *runtimev1.ListPodSandboxRequest) (*runtimev1.ListPodSandboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := req.GetFilter()
	out := &runtimev1.ListPodSandboxResponse{}
	for _, b := range s.sandboxes {
		if !strings.HasPrefix(b.id, f.GetId()) || !selects(f.GetLabelSelector(), b.config.GetLabels()) {
			continue
		}
		if f.GetState() != nil && f.GetState().GetState() != b.state {
			continue
		}
		out.Items = append(out.Items, &runtimev1.PodSandbox{
			Id: b.id, Metadata: b.config.GetMetadata(), State: b.state, CreatedAt: b.created.UnixNano(),
			Labels: maps.Clone(b.config.GetLabels()), Annotations: maps.Clone(b.config.GetAnnotations()), RuntimeHandler: b.handler,
		})
	}
	return out, nil
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
