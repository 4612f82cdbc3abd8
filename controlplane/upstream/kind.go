package upstream

import (
	"context"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// strategy is what every one of upstream's strategies offers.
type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
	rest.DeclarativeValidationStrategy
}

// Kind holds the rules of one upstream resource.
type Kind struct {
	gvr  schema.GroupVersionResource
	gvk  schema.GroupVersionKind
	main strategy
	// subs are the strategies of subresources that change the object itself, by name.
	subs map[string]strategy
	// selectable gives the fields beyond metadata's that selectors may name; nil: none.
	selectable func(runtime.Object) fields.Set
	columns    columns
}

// Call says what a request is about, as far as strategies ask.
type Call struct {
	Namespace   string
	Name        string
	Subresource string
	// User is who asks; nil for what the control plane does by itself.
	User *User
	// LoopbackPods says that this cluster's pods have addresses in 127.0.0.0/8, so endpoints may.
	LoopbackPods bool
	// Warn takes warnings for the client; nil drops them.
	Warn func(text string)
}

// User is who asks, as strategies that write it down know them.
type User struct {
	Name   string
	UID    string
	Groups []string
}

// GVR is the resource that the kind is served as.
func (k *Kind) GVR() schema.GroupVersionResource { return k.gvr }

// GVK is the versioned kind.
func (k *Kind) GVK() schema.GroupVersionKind { return k.gvk }

// Namespaced tells whether objects live in namespaces.
func (k *Kind) Namespaced() bool { return k.main.NamespaceScoped() }

// New makes an empty versioned object.
func (k *Kind) New() runtime.Object {
	obj, err := Scheme().New(k.gvk)
	if err != nil {
		panic(err) // a kind of this package's own table that the scheme does not know
	}
	obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	return obj
}

// Default fills what the client may leave out.
func (k *Kind) Default(obj runtime.Object) { Scheme().Default(obj) }

// Fields gives the selectable fields beyond metadata.name and metadata.namespace.
func (k *Kind) Fields(obj runtime.Object) fields.Set {
	if k.selectable == nil {
		return nil
	}
	return k.selectable(obj)
}

// Selectable names the fields that selectors may use beyond metadata.name and metadata.namespace.
func (k *Kind) Selectable() []string {
	if k.selectable == nil {
		return nil
	}
	var names []string
	for name := range k.selectable(k.New()) {
		names = append(names, name)
	}
	return names
}

// CreateOnUpdate tells whether a PUT may make the object.
func (k *Kind) CreateOnUpdate() bool { return k.main.AllowCreateOnUpdate(context.Background()) }

// UnconditionalUpdate tells whether an update may leave out the resourceVersion.
func (k *Kind) UnconditionalUpdate() bool {
	return k.main.AllowUnconditionalUpdate(context.Background())
}

// ResetFields are the fields that a write to the subresource ("" is the object itself) does not touch, by API
// version, and that therefore nobody comes to own through it.
func (k *Kind) ResetFields(subresource string) map[fieldpath.APIVersion]*fieldpath.Set {
	if s, ok := k.strategy(subresource).(rest.ResetFieldsStrategy); ok {
		return s.GetResetFields()
	}
	return nil
}

func (k *Kind) strategy(subresource string) strategy {
	if s, ok := k.subs[subresource]; ok {
		return s
	}
	return k.main
}

// context carries what strategies look up: the namespace, the version in which the client speaks, who asks, where warnings go.
func (k *Kind) context(ctx context.Context, verb string, call Call) context.Context {
	ctx = genericapirequest.WithNamespace(ctx, call.Namespace)
	ctx = genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{
		IsResourceRequest: true, Verb: verb,
		APIGroup: k.gvk.Group, APIVersion: k.gvk.Version, Resource: k.gvr.Resource,
		Subresource: call.Subresource, Namespace: call.Namespace, Name: call.Name,
	})
	if u := call.User; u != nil {
		ctx = genericapirequest.WithUser(ctx, &user.DefaultInfo{Name: u.Name, UID: u.UID, Groups: u.Groups})
	}
	if call.LoopbackPods {
		ctx = withLoopbackPods(ctx)
	}
	if call.Warn != nil {
		ctx = warning.WithWarningRecorder(ctx, recorder(call.Warn))
	}
	return ctx
}

type recorder func(text string)

func (r recorder) AddWarning(_, text string) { r(text) }
