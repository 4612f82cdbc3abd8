package resource

import (
	"fmt"
	"reflect"
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/petrelrun/petrel/controlplane/api"
)

// managers keeps one field manager for each resource and subresource. They are made when first needed: the schema
// behind upstream's types takes a moment to read.
type managers struct {
	mu         sync.Mutex
	made       map[managerKey]*managedfields.FieldManager
	ownerships ownerships
}

var scaleGVK = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

type managerKey struct {
	gvk         schema.GroupVersionKind
	subresource string
}

func newManagers() *managers {
	return &managers{made: map[managerKey]*managedfields.FieldManager{}}
}

// The converters know the structure of every type: which lists are sets or maps, and by which keys.
var (
	upstreamTypes = sync.OnceValue(func() managedfields.TypeConverter {
		return applyconfigurations.NewTypeConverter(Scheme())
	})
	ownTypes = sync.OnceValues(func() (managedfields.TypeConverter, error) {
		return managedfields.NewTypeConverter(OwnSchemas(), false)
	})
)

// WarmUp reads the schemas that managed fields need, so that the first write does not wait for it.
func WarmUp() {
	upstreamTypes()
	_, _ = ownTypes()
}

// scaleTypes knows the Scale, which client-go's converter does not.
var scaleTypes = sync.OnceValues(func() (managedfields.TypeConverter, error) {
	b := schemas{}
	b.addKind(reflect.TypeFor[autoscalingv1.Scale](), scaleGVK)
	return managedfields.NewTypeConverter(b, false)
})

func converter(gvk schema.GroupVersionKind) (managedfields.TypeConverter, error) {
	switch {
	case gvk.Group == api.GroupName:
		return ownTypes()
	case gvk == scaleGVK:
		return scaleTypes()
	}
	return upstreamTypes(), nil
}

func (m *managers) get(d *Definition, subresource string) (*managedfields.FieldManager, error) {
	return m.make(d.GVK, subresource, fieldpath.NewExcludeFilterSetMap(d.Rules.ResetFields(subresource)))
}

// scale is the manager of the scale subresource, whose objects are Scales whatever they scale.
func (m *managers) scale() (*managedfields.FieldManager, error) {
	return m.make(scaleGVK, "scale", nil)
}

func (m *managers) make(gvk schema.GroupVersionKind, subresource string, reset map[fieldpath.APIVersion]fieldpath.Filter) (*managedfields.FieldManager, error) {
	types, err := converter(gvk)
	if err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := managerKey{gvk, subresource}
	if fm := m.made[key]; fm != nil {
		return fm, nil
	}
	one := oneVersion{Scheme()}
	fm, err := managedfields.NewDefaultFieldManager(types, one, one, one, gvk, gvk.GroupVersion(), subresource, reset)
	if err != nil {
		return nil, fmt.Errorf("manage fields of %s: %w", gvk.Kind, err)
	}
	m.made[key] = fm
	return fm, nil
}

// updated records which fields the manager changed between live and obj.
func (m *managers) updated(d *Definition, call Call, live, obj runtime.Object) (runtime.Object, error) {
	if call.Manager == "" {
		return obj, nil
	}
	fm, err := m.get(d, call.Subresource)
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	out := fm.UpdateNoErrors(m.thin(d, call.Subresource, live), m.thin(d, call.Subresource, obj), call.Manager)
	from, err := meta.Accessor(out)
	if err != nil {
		return nil, err
	}
	accessor.SetManagedFields(from.GetManagedFields())
	return obj, nil
}

// thin is a shallow copy of obj without the spec or the status, where a write to the subresource does not touch it.
// Nobody can come to own anything there, so there is no use in comparing it, which is most of the work.
func (m *managers) thin(d *Definition, subresource string, obj runtime.Object) runtime.Object {
	reset := d.Rules.ResetFields(subresource)[fieldpath.APIVersion(d.GVK.GroupVersion().String())]
	if reset == nil {
		return obj
	}
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	for name, path := range resettable {
		if f := c.Elem().FieldByName(name); f.IsValid() && reset.Has(path) {
			f.SetZero()
		}
	}
	out, ok := c.Interface().(runtime.Object)
	if !ok {
		return obj
	}
	return out
}

var resettable = map[string]fieldpath.Path{
	"Spec": fieldpath.MakePathOrDie("spec"), "Status": fieldpath.MakePathOrDie("status"),
}

// unchanged tells whether obj differs from old in nothing but the times of its managed fields, which are set anew by
// every write.
func unchanged(obj, old runtime.Object) bool {
	m, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	om, err := meta.Accessor(old)
	if err != nil {
		return false
	}
	managed, oldManaged := m.GetManagedFields(), om.GetManagedFields()
	if !sameOwners(managed, oldManaged) {
		return false
	}
	m.SetManagedFields(oldManaged)
	defer m.SetManagedFields(managed)
	return apiequality.Semantic.DeepEqual(obj, old)
}

func sameOwners(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		x.Time, y.Time = nil, nil
		if !apiequality.Semantic.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// oneVersion converts between the forms of objects that exist here: each kind is served and stored in one version, so
// a typed object is already what is asked for, and only an unstructured one, from an apply, has to be decoded.
type oneVersion struct{ *runtime.Scheme }

// New implements runtime.ObjectCreater. Typed objects name their kind, as converters need it.
func (o oneVersion) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	obj, err := o.Scheme.New(gvk)
	if err == nil {
		obj.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return obj, err
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (o oneVersion) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	gvk := u.GroupVersionKind()
	out, err := o.New(gvk)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, err
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}
