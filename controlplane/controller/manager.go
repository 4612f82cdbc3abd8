package controller

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Manager runs every controller of the package.
type Manager struct {
	controllers []controller
	env         *env
}

// controller is one reconciler with its queue and workers. run blocks until ctx ends.
type controller interface {
	name() string
	run(ctx context.Context) error
}

// builders makes the controllers in the order in which their informers are asked for.
var builders = []func(*env) (controller, error){
	newReplicaSets,
	newDeployments,
	newJobs,
	newEndpointSlices,
	newNamespaces,
	newGarbageCollector,
	newNodeLifecycle,
	newNodeCIDRs,
	newEvictions,
	newPodGC,
	newVolumes,
	newLocalPath,
	newAttachments,
	newAttachedVolumes,
}

// New prepares the controllers and the indexes they need. It reads and writes nothing and must come before the
// informers start.
func New(config Config) (*Manager, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	m := &Manager{env: &env{Config: config}}
	for _, build := range builders {
		c, err := build(m.env)
		if err != nil {
			return nil, err
		}
		m.controllers = append(m.controllers, c)
	}
	return m, nil
}

// Run starts all controllers and blocks until ctx ends or one fails. It waits for the informers to fill.
func (m *Manager) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range m.controllers {
		group.Go(func() error {
			if err := c.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("run %s controller: %w", c.name(), err)
			}
			return nil
		})
	}
	return group.Wait()
}
