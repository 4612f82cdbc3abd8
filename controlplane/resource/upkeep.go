package resource

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/store"
)

// Run does the registry's upkeep until ctx ends: claims and Services are kept in agreement, old events removed.
func (r *Registry) Run(ctx context.Context) error {
	repair, reap := time.NewTicker(repairPeriod), time.NewTicker(reapPeriod)
	defer repair.Stop()
	defer reap.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-repair.C:
			err = r.Repair(ctx)
		case <-reap.C:
			err = r.ReapEvents(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.Error("upkeep failed; it is tried again", "error", err)
		}
	}
}

// ReapEvents removes events that nobody has seen again for their lifetime. One that is seen again meanwhile stays.
func (r *Registry) ReapEvents(ctx context.Context) error {
	list, err := r.store.List(ctx, events().Stored, store.ListOptions{})
	if err != nil {
		return fmt.Errorf("list events: %w", err)
	}
	for _, entry := range list.Entries {
		e, err := object[*corev1.Event](entry)
		if err != nil {
			return err
		}
		if r.cfg.Now().Sub(lastSeen(e)) < eventLifetime {
			continue
		}
		opts := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &e.ResourceVersion}}
		_, _, err = r.Delete(ctx, events(), Call{Namespace: e.Namespace, Name: e.Name}, opts)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("remove event %s/%s: %w", e.Namespace, e.Name, err)
		}
	}
	return nil
}

// lastSeen is the latest of the times that the two generations of event recorders write.
func lastSeen(e *corev1.Event) time.Time {
	last := e.CreationTimestamp.Time
	times := []time.Time{e.LastTimestamp.Time, e.EventTime.Time}
	if e.Series != nil {
		times = append(times, e.Series.LastObservedTime.Time)
	}
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
