package supervisor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// RunPodSandbox gives a pod an address and a runner.
func (s *Supervisor) RunPodSandbox(ctx context.Context, r *runtimev1.RunPodSandboxRequest) (*runtimev1.RunPodSandboxResponse, error) {
	b, err := s.newSandbox(r)
	if err != nil {
		return nil, err
	}
	id, namespace := b.record.ID, b.record.Namespace
	config := b.config.sandboxConfig()
	name := sandboxName(config.GetMetadata())
	if b.space, err = s.enterSpace(config); err != nil {
		return nil, err
	}
	b.apart = b.space != nil
	s.mu.Lock()
	if err = s.reserve(name, id); err == nil {
		b.record.Address, err = s.takeAddress(b, config)
		if err != nil {
			delete(s.names, name)
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.leaveSpace(b)
		return nil, err
	}
	s.use(namespace)
	if err := s.begin(ctx, b); err != nil {
		s.leaveSpace(b)
		s.leave(namespace)
		s.mu.Lock()
		delete(s.names, name)
		s.addresses.release(b.record.Address, id)
		s.mu.Unlock()
		return nil, grpcError(errors.Join(err, s.store.RemoveSandbox(id)))
	}
	s.announce(b, id, runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT)
	s.announce(b, id, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimev1.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (s *Supervisor) takeAddress(b *sandbox, config *runtimev1.PodSandboxConfig) (string, error) {
	want := config.GetAnnotations()[annotationPodIP]
	if err := s.mayHave(want); err != nil {
		return "", err
	}
	if b.space != nil {
		return addressIn(b.space, config)
	}
	return s.addresses.take(want, b.record.ID)
}

// newSandbox checks the request.
func (s *Supervisor) newSandbox(r *runtimev1.RunPodSandboxRequest) (*sandbox, error) {
	config := r.GetConfig()
	meta := config.GetMetadata()
	if meta.GetName() == "" || meta.GetNamespace() == "" {
		return nil, status.Error(codes.InvalidArgument, "sandbox config: metadata with name and namespace is required")
	}
	if !slices.Contains(Handlers, r.GetRuntimeHandler()) {
		return nil, status.Errorf(codes.InvalidArgument, "runtime handler %q is not served; those served are %q", r.GetRuntimeHandler(), Handlers)
	}
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimev1.NamespaceMode_NODE {
		return nil, status.Error(codes.InvalidArgument, "the host's network is not given to Wasm pods: each has an address of its own")
	}
	if _, err := readLimits(config.GetAnnotations()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if _, err := sandboxDNS(config); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	small, err := pack(config)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &sandbox{config: small, containers: map[string]*container{}, record: state.Sandbox{
		ID: newID(), RuntimeHandler: r.GetRuntimeHandler(), Namespace: meta.GetNamespace(), Ready: true,
		CreatedAt: s.cfg.Now().UnixNano(),
	}}, nil
}

// begin makes sure of the runner and makes the sandbox known.
func (s *Supervisor) begin(ctx context.Context, b *sandbox) error {
	defer s.steady(b.record.Namespace)()
	runner, err := s.fleet.Ensure(ctx, b.record.Namespace)
	if err != nil {
		return err
	}
	if err := s.saveSandbox(b, b.record); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.runner = runner
	s.sandboxes[b.record.ID] = b
	s.pods.addSandbox(b)
	// A death that was told before the sandbox was known has passed it by.
	if !runner.Alive() {
		delete(s.sandboxes, b.record.ID)
		s.pods.dropSandbox(b)
		return status.Errorf(codes.Unavailable, "the runner of namespace %s died", b.record.Namespace)
	}
	return nil
}

// StopPodSandbox ends the sandbox's containers and gives its address back.
func (s *Supervisor) StopPodSandbox(ctx context.Context, r *runtimev1.StopPodSandboxRequest) (*runtimev1.StopPodSandboxResponse, error) {
	b, err := s.findSandbox(r.GetPodSandboxId())
	if status.Code(err) == codes.NotFound {
		return &runtimev1.StopPodSandboxResponse{}, nil
	}
	return &runtimev1.StopPodSandboxResponse{}, grpcError(s.stopSandbox(ctx, b, 0))
}

// stopSandbox stops containers at the same time, and makes the sandbox not ready first: then it takes no new ones, and
// none that is created can be started any more.
func (s *Supervisor) stopSandbox(ctx context.Context, b *sandbox, grace time.Duration) error {
	b.op.Lock()
	defer b.op.Unlock()
	list := s.containersOf(b)
	for _, c := range list {
		c.told()
	}
	s.retire(b)
	var wg sync.WaitGroup
	errs := make([]error, len(list))
	for i, c := range list {
		wg.Go(func() { errs[i] = s.stopContainer(ctx, c, grace) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.mu.Lock()
	s.addresses.release(b.record.Address, b.record.ID)
	s.mu.Unlock()
	s.leaveSpace(b)
	s.unbind(b.record.ID, "")
	return nil
}

func (s *Supervisor) containersOf(b *sandbox) []*container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*container, 0, len(b.containers))
	for _, c := range b.containers {
		list = append(list, c)
	}
	return list
}

// retire makes a sandbox not ready, once.
func (s *Supervisor) retire(b *sandbox) {
	s.mu.Lock()
	was := b.record.Ready
	b.record.Ready = false
	record := b.record
	s.mu.Unlock()
	if !was {
		return
	}
	if err := s.store.UpdateSandbox(&record); err != nil {
		s.cfg.Logger.Error("sandbox's record not saved", "sandbox", record.ID, "error", err)
	}
	s.leave(record.Namespace)
	s.announce(b, record.ID, runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// RemovePodSandbox ends and forgets the sandbox and its containers.
func (s *Supervisor) RemovePodSandbox(ctx context.Context, r *runtimev1.RemovePodSandboxRequest) (*runtimev1.RemovePodSandboxResponse, error) {
	b, err := s.findSandbox(r.GetPodSandboxId())
	if status.Code(err) == codes.NotFound {
		return &runtimev1.RemovePodSandboxResponse{}, nil
	}
	if err := s.stopSandbox(ctx, b, 0); err != nil {
		return nil, grpcError(err)
	}
	b.op.Lock()
	defer b.op.Unlock()
	for _, c := range s.containersOf(b) {
		if err := s.removeContainer(ctx, c); err != nil {
			return nil, grpcError(err)
		}
	}
	s.mu.Lock()
	id := b.record.ID
	_, known := s.sandboxes[id]
	delete(s.sandboxes, id)
	s.pods.dropSandbox(b)
	delete(s.names, sandboxName(b.config.sandboxConfig().GetMetadata()))
	s.mu.Unlock()
	if !known { // another call was faster
		return &runtimev1.RemovePodSandboxResponse{}, nil
	}
	s.announce(b, id, runtimev1.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &runtimev1.RemovePodSandboxResponse{}, grpcError(s.store.RemoveSandbox(id))
}

// PodSandboxStatus tells of one sandbox and its containers.
func (s *Supervisor) PodSandboxStatus(_ context.Context, r *runtimev1.PodSandboxStatusRequest) (*runtimev1.PodSandboxStatusResponse, error) {
	b, err := s.findSandbox(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	response := &runtimev1.PodSandboxStatusResponse{Status: b.status(), ContainersStatuses: b.containerStatuses(), Timestamp: s.cfg.Now().UnixNano()}
	if r.GetVerbose() {
		pid := 0
		if b.runner != nil && b.runner.Alive() {
			pid = b.runner.PID()
		}
		response.Info = info(map[string]any{"runnerPid": pid, "namespace": b.record.Namespace, "address": b.record.Address})
	}
	return response, nil
}

// ListPodSandbox lists the sandboxes that the filter lets through, the newest first.
func (s *Supervisor) ListPodSandbox(_ context.Context, r *runtimev1.ListPodSandboxRequest) (*runtimev1.ListPodSandboxResponse, error) {
	return &runtimev1.ListPodSandboxResponse{Items: s.listSandboxes(r.GetFilter())}, nil
}

func (s *Supervisor) listSandboxes(f *runtimev1.PodSandboxFilter) []*runtimev1.PodSandbox {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var items []*runtimev1.PodSandbox
	for _, b := range s.selectSandboxes(f.GetId(), f.GetLabelSelector()) {
		if f.GetState() == nil || f.GetState().GetState() == b.state() {
			items = append(items, b.item())
		}
	}
	return items
}

// selectSandboxes answers those of an id, if one is given, and with the labels. The mutex is held.
func (s *Supervisor) selectSandboxes(id string, labels map[string]string) []*sandbox {
	var list []*sandbox
	if id != "" {
		if b, err := lookup(s.sandboxes, "sandbox", id); err == nil && b.matches(labels) {
			list = append(list, b)
		}
		return list
	}
	if uid := labels[labelPodUID]; uid != "" {
		for _, b := range s.pods.sandboxes[uid] {
			if b.matches(labels) {
				list = append(list, b)
			}
		}
	} else {
		for _, b := range s.sandboxes {
			if b.matches(labels) {
				list = append(list, b)
			}
		}
	}
	slices.SortFunc(list, func(x, y *sandbox) int { return cmp.Compare(y.record.CreatedAt, x.record.CreatedAt) })
	return list
}

// onDeath marks what a runner that died took with it.
func (s *Supervisor) onDeath(r *fleet.Runner, d fleet.Death) {
	s.mu.RLock()
	var lost []*sandbox
	for _, b := range s.sandboxes {
		if b.runner == r {
			lost = append(lost, b)
		}
	}
	s.mu.RUnlock()
	for _, b := range lost {
		s.lose(b, d)
	}
}

// lose marks a sandbox whose runner is gone. Its address is free: nobody listens there any more.
func (s *Supervisor) lose(b *sandbox, d fleet.Death) {
	s.retire(b) // first, so that nobody who sees a container's end makes another in its sandbox
	for _, c := range s.containersOf(b) {
		news := died(s.snapshot(c).Status, "runner died: "+d.How, s.cfg.Now())
		if d.OutOfMemory {
			news.Reason = control.ReasonOOMKilled
		}
		s.apply(c, news)
	}
	s.mu.Lock()
	s.addresses.release(b.record.Address, b.record.ID)
	s.mu.Unlock()
	s.leaveSpace(b)
	s.unbind(b.record.ID, "")
}
