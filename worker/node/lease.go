package node

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	// leaseDuration is how long the control plane trusts a heartbeat, and leaseInterval how often one is sent.
	leaseDuration = 40 * time.Second
	leaseInterval = 10 * time.Second
	// leaseRetry is how soon a heartbeat that failed is sent again.
	leaseRetry = time.Second
)

// keepLease renews the node's Lease until ctx ends.
func (n *Node) keepLease(ctx context.Context) {
	var held *coordinationv1.Lease
	for {
		wait := leaseInterval
		lease, err := n.renew(ctx, held, time.Now())
		if err != nil {
			wait = leaseRetry
			if ctx.Err() == nil {
				n.cfg.Logger.Debug("lease was not renewed", "error", err)
			}
		}
		held = lease
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// renew updates the lease that was held, or gets or creates it. It returns nil with an error, so that the next turn
// reads the lease afresh.
func (n *Node) renew(ctx context.Context, held *coordinationv1.Lease, now time.Time) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	leases := n.cfg.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if held == nil {
		got, err := leases.Get(ctx, n.cfg.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			fresh := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Namespace: corev1.NamespaceNodeLease}}
			n.fill(fresh, now)
			created, err := leases.Create(ctx, fresh, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("create lease: %w", err)
			}
			return created, nil
		case err != nil:
			return nil, fmt.Errorf("get lease: %w", err)
		}
		held = got
	}
	next := held.DeepCopy()
	n.fill(next, now)
	updated, err := leases.Update(ctx, next, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("renew lease: %w", err)
	}
	return updated, nil
}

func (n *Node) fill(lease *coordinationv1.Lease, now time.Time) {
	lease.Spec.HolderIdentity = ptr.To(n.cfg.Name)
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(leaseDuration / time.Second))
	lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now))
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uid != "" {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.cfg.Name, UID: n.uid}}
	}
}
