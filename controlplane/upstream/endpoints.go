package upstream

import (
	"context"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// loopbackEndpoints is the EndpointSlice strategy that a cluster may have whose pods have loopback addresses: upstream
// refuses 127.0.0.0/8 as an endpoint, since on a cluster of machines it would name another machine's own services. On a
// cluster of one that range may be the pods' network, and each of its addresses belongs to one pod. All other rules
// stand, and where a call does not say LoopbackPods, this one too.
type loopbackEndpoints struct{ strategy }

// loopbackPodsKey marks the context of a call that says LoopbackPods.
type loopbackPodsKey struct{}

func withLoopbackPods(ctx context.Context) context.Context {
	return context.WithValue(ctx, loopbackPodsKey{}, true)
}

// Validate implements rest.RESTCreateStrategy.
func (s loopbackEndpoints) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return allowLoopback(ctx, s.strategy.Validate(ctx, obj))
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s loopbackEndpoints) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	return allowLoopback(ctx, s.strategy.ValidateUpdate(ctx, obj, old))
}

func allowLoopback(ctx context.Context, errs field.ErrorList) field.ErrorList {
	if ctx.Value(loopbackPodsKey{}) == nil {
		return errs
	}
	return errs.Filter(func(err error) bool {
		e, ok := err.(*field.Error)
		if !ok || e.Type != field.ErrorTypeInvalid || !strings.Contains(e.Detail, "loopback range") {
			return false
		}
		text, ok := e.BadValue.(string)
		if !ok {
			return false
		}
		addr, err := netip.ParseAddr(text)
		return err == nil && addr.Is4() && addr.IsLoopback()
	})
}
