package resource

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/store"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// Rules are what a kind says of its own objects. upstream.Kind gives Kubernetes' own; ownRules ours.
type Rules interface {
	// New makes an empty object of the served version.
	New() runtime.Object
	// Default fills what the client may leave out.
	Default(obj runtime.Object)
	// Create prepares and validates a new object and answers what is to be stored.
	Create(ctx context.Context, call upstream.Call, obj runtime.Object) (runtime.Object, error)
	// Update does the same for a change.
	Update(ctx context.Context, call upstream.Call, obj, old runtime.Object) (runtime.Object, error)
	// BeforeDelete checks the options and sets the deletion's time and grace on obj where the kind knows grace.
	BeforeDelete(ctx context.Context, call upstream.Call, obj runtime.Object, opts *metav1.DeleteOptions) (graceful, pending bool, err error)
	// Orphans tells whether dependents stay where the client did not choose.
	Orphans(ctx context.Context) bool
	// CreateOnUpdate tells whether a PUT may make the object.
	CreateOnUpdate() bool
	// UnconditionalUpdate tells whether an update may leave out the resourceVersion.
	UnconditionalUpdate() bool
	// ResetFields are the fields that a write to the subresource does not touch, by API version.
	ResetFields(subresource string) map[fieldpath.APIVersion]*fieldpath.Set
	// Fields are the selectable fields of obj beyond metadata's, and Selectable their names.
	Fields(obj runtime.Object) fields.Set
	Selectable() []string
	// Columns and Cells print a table.
	Columns() ([]metav1.TableColumnDefinition, error)
	Cells(obj runtime.Object) ([]any, []metav1.TableRowCondition, error)
}

// Definition is one served resource.
type Definition struct {
	api.ResourceInfo
	Singular   string
	ShortNames []string
	Categories []string
	Verbs      []string
	// Subresources in the order of their names.
	Subresources []Subresource
	Rules        Rules
	// Stored is the same resource as the store keeps it.
	Stored *store.Resource
}

// Subresource is served below an object.
type Subresource struct {
	Name  string
	GVK   schema.GroupVersionKind // what is sent and answered
	Verbs []string
}

// GR is the resource as errors name it.
func (d *Definition) GR() schema.GroupResource { return d.GVR.GroupResource() }

// ListGVK is the kind of a list.
func (d *Definition) ListGVK() schema.GroupVersionKind {
	return d.GVK.GroupVersion().WithKind(d.GVK.Kind + "List")
}

// Subresource finds a subresource by its name.
func (d *Definition) Subresource(name string) (Subresource, bool) {
	i := slices.IndexFunc(d.Subresources, func(s Subresource) bool { return s.Name == name })
	if i < 0 {
		return Subresource{}, false
	}
	return d.Subresources[i], true
}

// Serves tells whether a verb is served.
func (d *Definition) Serves(verb string) bool { return slices.Contains(d.Verbs, verb) }
