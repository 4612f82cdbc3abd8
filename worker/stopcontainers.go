package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// maxStops is how many container pods are ended at a time: each is some processes that end, and containerd's work.
const maxStops = 8

// StopContainers ends and removes every pod of containerd's, for whoever wants none to go on without the worker. It comes
// after Run, or without it. Their network is taken down by the worker, so that is there meanwhile.
func (w *Worker) StopContainers(ctx context.Context) (err error) {
	if w.cfg.ContainerdEndpoint == "" {
		return nil
	}
	containers, err := cri.New(cri.Config{Endpoint: w.cfg.ContainerdEndpoint, Logger: w.cfg.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, containers.Close()) }()
	if err := w.pool.Open(ctx); err != nil {
		return fmt.Errorf("open pod network: %w", err)
	}
	defer func() { err = errors.Join(err, w.pool.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- w.serveCNI(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	all, err := containers.ListPodSandbox(ctx, nil)
	if err != nil {
		return fmt.Errorf("stop containers: %w", err)
	}
	places := make(chan struct{}, maxStops)
	failed := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, s := range all {
		if s.GetLabels()[labelPodUID] == "" {
			continue // no pod's
		}
		places <- struct{}{}
		stopping.Go(func() {
			defer func() { <-places }()
			failed[i] = removeSandbox(ctx, containers, s)
		})
	}
	stopping.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return w.groups.Close()
}

func removeSandbox(ctx context.Context, containers *cri.Client, s *runtimev1.PodSandbox) error {
	err := containers.StopPodSandbox(ctx, s.GetId())
	if err == nil {
		err = containers.RemovePodSandbox(ctx, s.GetId())
	}
	if err != nil {
		return fmt.Errorf("stop pod %s/%s: %w", s.GetMetadata().GetNamespace(), s.GetMetadata().GetName(), err)
	}
	return nil
}
