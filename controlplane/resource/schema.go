package resource

import (
	"reflect"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/petrelrun/petrel/controlplane/api"
)

// OwnSchemas describes Petrel's own kinds and the types inside them as OpenAPI schemas, by name. They are derived
// from the Go types, so they cannot fall behind them, and serve both to clients (kubectl explain) and to apply.
var OwnSchemas = sync.OnceValue(func() map[string]*spec.Schema {
	b := schemas{}
	for _, info := range api.Resources() {
		obj, err := Scheme().New(info.GVK)
		if err != nil {
			panic(err) // a resource of package api that AddToScheme does not register
		}
		list, err := Scheme().New(info.GVK.GroupVersion().WithKind(info.GVK.Kind + "List"))
		if err != nil {
			panic(err)
		}
		b.addKind(reflect.TypeOf(obj).Elem(), info.GVK)
		b.addKind(reflect.TypeOf(list).Elem(), info.GVK.GroupVersion().WithKind(info.GVK.Kind+"List"))
	}
	return b
})

// KindSchema is the name of the schema of one of Petrel's own kinds, and SchemaPrefix what those names begin with.
func KindSchema(gvk schema.GroupVersionKind) string { return SchemaPrefix() + gvk.Kind }

// SchemaPrefix is what the names of the schemas of Petrel's own types begin with.
func SchemaPrefix() string {
	return strings.TrimSuffix(SchemaName(reflect.TypeFor[api.App]()), "App")
}

func (b schemas) addKind(t reflect.Type, gvk schema.GroupVersionKind) {
	name := b.add(t)
	b[name].VendorExtensible.AddExtension("x-kubernetes-group-version-kind", []any{gvkExtension(gvk)})
}

func gvkExtension(gvk schema.GroupVersionKind) map[string]any {
	return map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}

type schemas map[string]*spec.Schema

// SchemaName is how a Go type is called in OpenAPI documents.
func SchemaName(t reflect.Type) string {
	path := strings.ReplaceAll(t.PkgPath(), "/", ".")
	if host, rest, ok := strings.Cut(t.PkgPath(), "/"); ok {
		parts := strings.Split(host, ".")
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
		path = strings.Join(parts, ".") + "." + strings.ReplaceAll(rest, "/", ".")
	}
	return path + "." + t.Name()
}

// add describes a struct and answers its name.
func (b schemas) add(t reflect.Type) string {
	name := SchemaName(t)
	if b[name] != nil {
		return name
	}
	s := &spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"object"}, Properties: map[string]spec.Schema{}}}
	b[name] = s // before its fields, which may refer to it
	s.Description = describes(t, "")
	b.fields(s, t)
	return name
}

func (b schemas) fields(s *spec.Schema, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == "-" || !f.IsExported():
		case f.Anonymous && (tag == "" || strings.Contains(opts, "inline")):
			b.fields(s, f.Type)
		default:
			p := listed(b.of(f.Type), f.Tag)
			p.Description = describes(t, "."+tag)
			s.Properties[tag] = p
			if !strings.Contains(opts, "omitempty") && f.Type.Kind() != reflect.Pointer {
				s.Required = append(s.Required, tag)
			}
		}
	}
}

// describes finds the comment on one of our own types or its field.
func describes(t reflect.Type, field string) string {
	if t.PkgPath() != reflect.TypeFor[api.App]().PkgPath() {
		return ""
	}
	return descriptions[t.Name()+field]
}

// listed says how a list is merged, as the struct tags of Kubernetes' own types tell it for metadata.
func listed(s spec.Schema, tag reflect.StructTag) spec.Schema {
	if !s.Type.Contains("array") || tag.Get("patchStrategy") != "merge" {
		return s
	}
	if key := tag.Get("patchMergeKey"); key != "" {
		s.VendorExtensible.AddExtension("x-kubernetes-list-type", "map")
		s.VendorExtensible.AddExtension("x-kubernetes-list-map-keys", []any{key})
	} else {
		s.VendorExtensible.AddExtension("x-kubernetes-list-type", "set")
	}
	return s
}

// Types whose JSON is not what their fields say.
var written = map[reflect.Type]spec.Schema{
	reflect.TypeFor[metav1.Time]():      *spec.DateTimeProperty(),
	reflect.TypeFor[metav1.MicroTime](): *spec.DateTimeProperty(),
	reflect.TypeFor[metav1.Duration]():  *spec.StringProperty(),
	reflect.TypeFor[time.Duration]():    *spec.Int64Property(),
	reflect.TypeFor[metav1.FieldsV1]():  {SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"object"}}},
}

func (b schemas) of(t reflect.Type) spec.Schema {
	if s, ok := written[t]; ok {
		return s
	}
	if t.PkgPath() == "k8s.io/apimachinery/pkg/api/resource" && t.Name() == "Quantity" {
		return *spec.StringProperty()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.of(t.Elem())
	case reflect.Struct:
		return *spec.RefSchema("#/definitions/" + b.add(t))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return *spec.StrFmtProperty("byte")
		}
		item := b.of(t.Elem())
		list := *spec.ArrayProperty(&item)
		list.VendorExtensible.AddExtension("x-kubernetes-list-type", "atomic")
		return list
	case reflect.Map:
		item := b.of(t.Elem())
		return *spec.MapProperty(&item)
	case reflect.Bool:
		return *spec.BooleanProperty()
	case reflect.Int64, reflect.Int, reflect.Uint32, reflect.Uint64:
		return *spec.Int64Property()
	case reflect.Int32, reflect.Int16, reflect.Uint16, reflect.Uint8, reflect.Int8:
		return *spec.Int32Property()
	}
	return *spec.StringProperty()
}
