package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/store"
)

// services gives Services their cluster IPs and node ports.
type services struct {
	registry *Registry
	ips      ipRange
	ports    PortRange
}

func newServices(r *Registry) *services {
	return &services{registry: r, ips: newIPRange(r.cfg.ServiceCIDR), ports: r.cfg.NodePorts}
}

// claim is one value out of a pool.
type claim struct{ pool, value string }

// settle ends a claim once the write it was for has ended with err; written is the object that stands then.
type settle func(ctx context.Context, written runtime.Object, err error)

func settled(context.Context, runtime.Object, error) {}

// errNotWritten ends a claim whose write was given up.
var errNotWritten = errors.New("nothing was written")

func holderFor(svc *corev1.Service) holder {
	return holder{namespace: svc.Namespace, name: svc.Name, uid: svc.UID}
}

func serviceOf(e *store.Entry) (*corev1.Service, error) { return object[*corev1.Service](e) }

// heldBy lists what a Service holds.
func heldBy(svc *corev1.Service) []claim {
	var out []claim
	if needsClusterIP(svc) {
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone && ip != "" {
				out = append(out, claim{poolClusterIP, ip})
			}
		}
	}
	for _, p := range svc.Spec.Ports {
		if c := portClaim(p.NodePort); p.NodePort != 0 && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	if svc.Spec.HealthCheckNodePort != 0 {
		out = append(out, portClaim(svc.Spec.HealthCheckNodePort))
	}
	return out
}

func portClaim(port int32) claim { return claim{poolNodePort, strconv.Itoa(int(port))} }

func needsClusterIP(svc *corev1.Service) bool { return svc.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort ||
		svc.Spec.Type == corev1.ServiceTypeLoadBalancer && (svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts)
}

func needsHealthCheckNodePort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// claim fills in and claims what obj needs before it is validated; old is what stood before, nil for a new object.
// Objects that are no Services need nothing, and neither does a Service's status. Of a dry run nothing is kept.
func (s *services) claim(ctx context.Context, call Call, obj, old runtime.Object) (settle, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok || call.Subresource != "" {
		return settled, nil
	}
	a := &allocation{services: s, holder: holderFor(svc), dry: call.DryRun}
	before, _ := old.(*corev1.Service)
	if before != nil {
		a.holder, a.had = holderFor(before), heldBy(before)
	}
	normalizeService(svc, before)
	if err := a.fill(ctx, svc); err != nil {
		a.undo(ctx)
		return nil, err
	}
	return a.settle, nil
}

// settle gives back what is not needed after all: of a write that did not happen what was claimed for it, of one that
// did what the Service held before and holds no more, or was given and then cleared by the rules.
func (a *allocation) settle(ctx context.Context, written runtime.Object, err error) {
	svc, ok := written.(*corev1.Service)
	switch {
	case err == nil && ok:
		keep := heldBy(svc)
		a.giveBack(ctx, slices.DeleteFunc(append(slices.Clone(a.had), a.made...), func(c claim) bool { return slices.Contains(keep, c) }))
	case err != nil && certain(err):
		a.undo(ctx)
	}
}

// release gives back all that a removed Service held.
func (s *services) release(ctx context.Context, obj runtime.Object) {
	if svc, ok := obj.(*corev1.Service); ok {
		a := &allocation{services: s, holder: holderFor(svc)}
		a.giveBack(ctx, heldBy(svc))
	}
}

// certain tells whether an error means that nothing was written. After a timeout nobody knows; the claims then stay
// for Repair to judge.
func certain(err error) bool {
	if errors.Is(err, errNotWritten) {
		return true
	}
	status, ok := err.(apierrors.APIStatus)
	return ok && status.Status().Code >= 400 && status.Status().Code < 500
}

// allocation is the claiming for one write.
type allocation struct {
	*services
	holder holder
	dry    bool
	had    []claim
	made   []claim
}

func (a *allocation) undo(ctx context.Context) {
	a.giveBack(ctx, a.made)
	a.made = nil
}

// giveBack drops claims even when the request's own context has ended.
func (a *allocation) giveBack(ctx context.Context, list []claim) {
	if a.dry || len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	for _, c := range list {
		if err := a.drop(ctx, c.pool, c.value, a.holder); err != nil {
			a.registry.cfg.Logger.Warn("claim stays behind until the next repair", "pool", c.pool, "value", c.value,
				"service", a.holder.String(), "error", err)
		}
	}
}

// fill sets every field of svc that is allocated.
func (a *allocation) fill(ctx context.Context, svc *corev1.Service) error {
	if err := a.fillClusterIP(ctx, svc); err != nil {
		return err
	}
	if err := a.fillNodePorts(ctx, svc); err != nil {
		return err
	}
	if needsHealthCheckNodePort(svc) {
		path := field.NewPath("spec", "healthCheckNodePort")
		port, err := a.port(ctx, svc, svc.Spec.HealthCheckNodePort, path)
		if err != nil {
			return err
		}
		svc.Spec.HealthCheckNodePort = port
	}
	return nil
}

// get claims one value; the error is AlreadyExists where somebody else holds it.
func (a *allocation) get(ctx context.Context, c claim) error {
	if a.holds(c) {
		return nil
	}
	if a.dry {
		if !a.free(ctx, c.pool, c.value) {
			return apierrors.NewAlreadyExists(claims.GVR.GroupResource(), c.value)
		}
		a.made = append(a.made, c)
		return nil
	}
	made, err := a.take(ctx, c.pool, c.value, a.holder)
	if made {
		a.made = append(a.made, c)
	}
	return err
}

func (a *allocation) holds(c claim) bool {
	return slices.Contains(a.had, c) || slices.Contains(a.made, c)
}

func invalidService(svc *corev1.Service, path *field.Path, value any, detail string) error {
	return apierrors.NewInvalid(servicesDefinition().GVK.GroupKind(), svc.Name, field.ErrorList{field.Invalid(path, value, detail)})
}

func exhausted(what string) error {
	return apierrors.NewInternalError(fmt.Errorf("allocate %s: none is free", what))
}
