package resource

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// Client is the way of the scheduler and the controllers to the API: the same verbs, rules and errors as over HTTP,
// without it. Objects it is given stay the caller's, objects it answers become the caller's.
type Client struct {
	registry *Registry
	manager  string
}

// Client makes a client whose writes are owned by the field manager.
func (r *Registry) Client(fieldManager string) *Client {
	return &Client{registry: r, manager: fieldManager}
}

// find names the definition and the call that obj is for.
func (c *Client) find(obj api.Object) (*Definition, Call, error) {
	kinds, _, err := Scheme().ObjectKinds(obj)
	if err != nil {
		return nil, Call{}, fmt.Errorf("find resource of %T: %w", obj, err)
	}
	for _, gvk := range kinds {
		if d, ok := lookupKind(gvk); ok {
			call := Call{Namespace: obj.GetNamespace(), Name: obj.GetName(), Manager: c.manager, FieldValidation: metav1.FieldValidationIgnore}
			if !d.Namespaced {
				call.Namespace = ""
			}
			return d, call, nil
		}
	}
	return nil, Call{}, fmt.Errorf("find resource of %T: it is not served", obj)
}

// Get reads the object that obj names; it sees every write acknowledged before.
func (c *Client) Get(ctx context.Context, obj api.Object) (api.Object, error) {
	d, call, err := c.find(obj)
	if err != nil {
		return nil, err
	}
	entry, err := c.registry.Get(ctx, d, call.Namespace, call.Name, true)
	if err != nil {
		return nil, err
	}
	return asObject(entry.Copy(), nil)
}

// Create makes obj.
func (c *Client) Create(ctx context.Context, obj api.Object) (api.Object, error) {
	d, call, err := c.find(obj)
	if err != nil {
		return nil, err
	}
	return asObject(c.registry.Create(ctx, d, call, own(d, obj)))
}

// Update replaces obj; a stale resourceVersion is a Conflict.
func (c *Client) Update(ctx context.Context, obj api.Object) (api.Object, error) {
	return c.update(ctx, obj, "")
}

// UpdateStatus replaces obj's status.
func (c *Client) UpdateStatus(ctx context.Context, obj api.Object) (api.Object, error) {
	return c.update(ctx, obj, upstream.Status)
}

func (c *Client) update(ctx context.Context, obj api.Object, subresource string) (api.Object, error) {
	d, call, err := c.find(obj)
	if err != nil {
		return nil, err
	}
	call.Subresource = subresource
	out, _, err := c.registry.Update(ctx, d, call, own(d, obj))
	return asObject(out, err)
}

// UpdateApproval replaces the conditions by which a request for a certificate is approved or denied.
func (c *Client) UpdateApproval(ctx context.Context, obj api.Object) (api.Object, error) {
	return c.update(ctx, obj, upstream.Approval)
}

// Patch changes the object that obj names.
func (c *Client) Patch(ctx context.Context, obj api.Object, typ types.PatchType, data []byte, subresource string) (api.Object, error) {
	d, call, err := c.find(obj)
	if err != nil {
		return nil, err
	}
	call.Subresource = subresource
	out, _, err := c.registry.Patch(ctx, d, call, Patch{Type: typ, Data: data})
	return asObject(out, err)
}

// Delete deletes the object that obj names.
func (c *Client) Delete(ctx context.Context, obj api.Object, opts metav1.DeleteOptions) error {
	d, call, err := c.find(obj)
	if err != nil {
		return err
	}
	call.DryRun = len(opts.DryRun) > 0
	_, _, err = c.registry.Delete(ctx, d, call, opts)
	return err
}

// Bind assigns a pod to a node.
func (c *Client) Bind(ctx context.Context, b *corev1.Binding) error {
	return c.registry.Bind(ctx, Call{Namespace: b.Namespace, Name: b.Name, Manager: c.manager}, b)
}

// Finalize writes a namespace's spec.finalizers, as the controller that has emptied it does.
func (c *Client) Finalize(ctx context.Context, ns *corev1.Namespace) error {
	_, err := c.update(ctx, ns, upstream.Finalize)
	return err
}

// EventSink lets a client-go event recorder write without HTTP.
func (c *Client) EventSink() record.EventSink { return eventSink{c} }

type eventSink struct{ client *Client }

func (s eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	return asEvent(s.client.Create(context.Background(), e))
}

func (s eventSink) Update(e *corev1.Event) (*corev1.Event, error) {
	return asEvent(s.client.Update(context.Background(), e))
}

func (s eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return asEvent(s.client.Patch(context.Background(), e, types.StrategicMergePatchType, data, ""))
}

func asEvent(obj api.Object, err error) (*corev1.Event, error) {
	if err != nil {
		return nil, err
	}
	e, ok := obj.(*corev1.Event)
	if !ok {
		return nil, fmt.Errorf("write event: got a %T", obj)
	}
	return e, nil
}

// own makes a copy that the registry may keep.
func own(d *Definition, obj api.Object) runtime.Object {
	c := obj.DeepCopyObject()
	c.GetObjectKind().SetGroupVersionKind(d.GVK)
	return c
}

func asObject(obj runtime.Object, err error) (api.Object, error) {
	if err != nil {
		return nil, err
	}
	o, ok := obj.(api.Object)
	if !ok {
		return nil, fmt.Errorf("read %T: it has no metadata", obj)
	}
	return o, nil
}
