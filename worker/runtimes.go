package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/node"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// newRuntimes prepares the connections to the node's runtimes.
func (w *Worker) newRuntimes() (*runtimes.Set, error) {
	client := func(endpoint string) (*cri.Client, error) {
		return cri.New(cri.Config{Endpoint: endpoint, Observe: w.metrics.observeCall, Logger: w.cfg.Logger})
	}
	wasm, err := client(w.cfg.RuntimeEndpoint)
	if err != nil {
		return nil, err
	}
	cfg := runtimes.Config{Wasm: wasm}
	if w.cfg.ContainerdEndpoint != "" {
		if cfg.Containerd, err = client(w.cfg.ContainerdEndpoint); err != nil {
			return nil, errors.Join(err, wasm.Close())
		}
	}
	return runtimes.New(cfg)
}

// runtimeVersions are what the runtimes call themselves, in the order in which they were met.
type runtimeVersions struct {
	mu    sync.Mutex
	names []string
	of    map[string]string
}

func (v *runtimeVersions) set(name, version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = map[string]string{}
	}
	if _, known := v.of[name]; !known {
		v.names = append(v.names, name)
	}
	v.of[name] = version
}

// String is what a Node's status tells: "petrel-wasmrt://1.0,containerd://2.4.2".
func (v *runtimeVersions) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []string
	for _, name := range v.names {
		all = append(all, name+"://"+v.of[name])
	}
	return strings.Join(all, ",")
}

// health asks petrel-wasmrt whether pods can run. A containerd that is away makes no node unready: handlers tells of it.
func (w *Worker) health(ctx context.Context) node.Health {
	if !w.runtimeUp.Load() {
		return node.Health{Reason: "RuntimeNotReady", Message: "waiting for the container runtime at " + w.cfg.RuntimeEndpoint}
	}
	if len(w.pool.PodCIDRs()) == 0 {
		return node.Health{Reason: "NetworkNotReady", Message: network.ErrNoPodCIDR.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	err := w.wasm().Client.Ready(ctx)
	if err == nil {
		w.runtimeSeen.Store(time.Now().UnixNano())
	} else if time.Since(time.Unix(0, w.runtimeSeen.Load())) >= w.cfg.runtimeGrace {
		return node.Health{Reason: "RuntimeNotReady", Message: err.Error()}
	}
	return node.Health{Ready: true, Reason: "WorkerReady", Message: "worker is posting ready status"}
}

// wasm is the runtime that each node has.
func (w *Worker) wasm() *runtimes.Member { return w.set.Members()[0] }

// Labels by which pods may choose nodes for what they run.
const (
	labelRunsWasm       = "petrel.run/runtime-wasm"
	labelRunsContainers = "petrel.run/runtime-containerd"
)

// nodeLabels are the Node's. One that runs no containers says so: it may have run some before.
func (w *Worker) nodeLabels() map[string]string {
	labels := map[string]string{labelRunsWasm: "true", labelRunsContainers: strconv.FormatBool(w.set.Containers())}
	maps.Copy(labels, w.cfg.NodeLabels)
	return labels
}

// handlers are the ways to run pods that this node has. Those of containerd are told once it was met: a node that cannot
// run containers yet is sent none.
func (w *Worker) handlers() []corev1.NodeRuntimeHandler {
	out := []corev1.NodeRuntimeHandler{{Name: runtimes.HandlerWasm}}
	known := w.containers.Load()
	if known == nil {
		return out
	}
	for _, name := range append([]string{""}, *known...) { // the first is for who names none
		if name != runtimes.HandlerWasm {
			out = append(out, corev1.NodeRuntimeHandler{Name: name})
		}
	}
	return out
}

// greet gets to know petrel-wasmrt and takes over what the node runs.
func (w *Worker) greet(ctx context.Context, m *manager) error {
	for {
		err := w.wasm().Client.WaitReady(ctx)
		if err == nil {
			err = w.meet(ctx, w.wasm())
		}
		if err == nil {
			err = tellPodCIDR(ctx, w.set, w.pool)
		}
		if err == nil || cri.IsUnimplemented(err) {
			err = m.adopt(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		w.cfg.Logger.Warn("runtime was not taken over", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(runtimeRetry):
		}
	}
}

// meet asks a runtime who it is.
func (w *Worker) meet(ctx context.Context, member *runtimes.Member) error {
	name, version, err := member.Client.Version(ctx)
	if err != nil {
		return err
	}
	w.versions.set(name, version)
	return nil
}

// meetContainers waits for containerd beside everything else, and tells the node once it serves. changed is called then.
func (w *Worker) meetContainers(ctx context.Context, changed func()) {
	if !w.set.Containers() {
		return
	}
	containers := w.set.Members()[1]
	for ctx.Err() == nil {
		err := containers.Client.WaitReady(ctx)
		if err == nil {
			err = w.meet(ctx, containers)
		}
		var handlers []string
		if err == nil {
			handlers, err = containers.Client.Handlers(ctx)
		}
		var sandboxes string
		if err == nil {
			sandboxes, err = containers.Client.SandboxImage(ctx)
		}
		if err == nil {
			w.sandboxImage.Store(&sandboxes)
			w.containers.Store(&handlers)
			w.cfg.Logger.Info("containerd serves", "runtimes", w.versions.String(), "handlers", handlers)
			changed()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(runtimeRetry):
		}
	}
}

var errNoHandler = errors.New("no runtime of this node has the handler")

// checkHandler finds a handler that this node does not have.
func (w *Worker) checkHandler(name string) error {
	if name == "" || slices.ContainsFunc(w.handlers(), func(h corev1.NodeRuntimeHandler) bool { return h.Name == name }) {
		return nil
	}
	return fmt.Errorf("%w: %q", errNoHandler, name)
}
