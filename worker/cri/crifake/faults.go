package crifake

import (
	"context"
	"fmt"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Fail makes every call of the CRI method (PullImage) return err until Fail(method, nil).
func (r *Runtime) Fail(method string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[method] = err
}

// Delay makes every call of the CRI method take that long before it does anything.
func (r *Runtime) Delay(method string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay[method] = d
}

// WithoutEvents makes GetContainerEvents answer Unimplemented, as older runtimes do.
func (r *Runtime) WithoutEvents() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noEvents = true
}

// Calls tells how often the CRI method was called.
func (r *Runtime) Calls(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[method]
}

func (r *Runtime) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	r.mu.Lock()
	r.calls[method]++
	fault, delay := r.faults[method], r.delay[method]
	r.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if fault != nil {
		return nil, fault
	}
	return next(ctx, req)
}

// FailGuest has the guests of the pod's running containers of that name fail: their info tells it, and their start is
// announced anew.
func (r *Runtime) FailGuest(podUID, name, code, function string, at time.Time, count int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := 0
	for _, c := range r.containers {
		b := r.sandboxes[c.sandboxID]
		if b == nil || b.config.GetMetadata().GetUid() != podUID || c.config.GetMetadata().GetName() != name || !c.running() {
			continue
		}
		r.failures[c.id] = fmt.Sprintf(`,"lastFailure":{"code":%q,"detail":"a limit","function":%q,"time":%q,"count":%d}`,
			code, function, at.Format(time.RFC3339Nano), count)
		r.tell(c, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT)
		failed++
	}
	return failed
}

// Kill ends every running container of that name in the pod with the exit code, as a crash does.
func (r *Runtime) Kill(podUID, name string, code int32) int {
	r.mu.Lock()
	var hit []*container
	for _, c := range r.containers {
		if c.config.GetMetadata().GetName() == name && r.sandboxes[c.sandboxID].uid() == podUID && c.running() {
			hit = append(hit, c)
		}
	}
	r.mu.Unlock()
	for _, c := range hit {
		c.kill(code, "")
		<-c.done
	}
	return len(hit)
}

// LoseSandbox makes the pod's sandboxes not ready and ends their containers, as the death of a runner does.
func (r *Runtime) LoseSandbox(podUID string) {
	r.mu.Lock()
	var hit []*container
	for _, s := range r.sandboxes {
		if s.uid() != podUID {
			continue
		}
		s.state = runtimeNotReady
		for _, c := range r.containers {
			if c.sandboxID == s.id && c.running() {
				hit = append(hit, c)
			}
		}
	}
	r.mu.Unlock()
	for _, c := range hit {
		c.kill(137, "Error")
		<-c.done
	}
}

// Sandboxes counts the sandboxes, ready or not.
func (r *Runtime) Sandboxes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sandboxes)
}

// SandboxConfig is what the pod's newest sandbox was made of; nil when it has none.
func (r *Runtime) SandboxConfig(podUID string) *runtimev1.PodSandboxConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest *sandbox
	for _, s := range r.sandboxes {
		if s.uid() == podUID && (newest == nil || s.created.After(newest.created)) {
			newest = s
		}
	}
	if newest == nil {
		return nil
	}
	return proto.CloneOf(newest.config)
}

// RunningContainers counts the containers that run.
func (r *Runtime) RunningContainers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.containers {
		if c.running() {
			n++
		}
	}
	return n
}
