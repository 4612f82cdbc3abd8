package resource

import (
	"strings"
	"testing"

	"github.com/petrelrun/petrel/controlplane/api"
)

func TestOwnSchemas(t *testing.T) {
	all := OwnSchemas()
	for _, info := range api.Resources() {
		for _, gvk := range []string{info.GVK.Kind, info.GVK.Kind + "List"} {
			s := all[KindSchema(info.GVK.GroupVersion().WithKind(gvk))]
			if s == nil {
				t.Fatalf("no schema for %s", gvk)
			}
			if _, ok := s.Extensions["x-kubernetes-group-version-kind"]; !ok {
				t.Errorf("%s does not say its kind", gvk)
			}
		}
	}
	spec := all[SchemaPrefix()+"AppSpec"]
	for _, name := range []string{"replicas", "image", "env", "limits"} {
		if _, ok := spec.Properties[name]; !ok {
			t.Errorf("AppSpec has no %s: %v", name, spec.Properties)
		}
	}
	if spec.Description == "" || spec.Properties["replicas"].Description == "" {
		t.Error("AppSpec is not described; run go generate")
	}
	for name, s := range all {
		for prop, p := range s.Properties {
			if ref := p.Ref.String(); ref != "" && all[strings.TrimPrefix(ref, "#/definitions/")] == nil {
				t.Errorf("%s.%s refers to %s, which is not there", name, prop, ref)
			}
		}
	}
	meta := all["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]
	if meta == nil || meta.Properties["finalizers"].Extensions["x-kubernetes-list-type"] != "set" {
		t.Error("finalizers are no set")
	}
}

func TestTableIsConsistent(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Definitions() {
		for _, name := range append([]string{d.GVR.GroupResource().String(), d.Singular + "." + d.GVR.Group}, d.ShortNames...) {
			if seen[name] {
				t.Errorf("%s is named twice", name)
			}
			seen[name] = true
		}
		if got, ok := Lookup(d.GVR); !ok || got != d {
			t.Errorf("lookup of %s", d.GVR)
		}
		if kinds, _, err := Scheme().ObjectKinds(d.Rules.New()); err != nil || kinds[0] != d.GVK {
			t.Errorf("%s makes %v, %v", d.GVR, kinds, err)
		}
		if _, err := d.Rules.Columns(); err != nil {
			t.Errorf("%s: %v", d.GVR, err)
		}
		if cells, _, err := d.Rules.Cells(d.Rules.New()); err != nil || len(cells) == 0 {
			t.Errorf("%s: cells %v, %v", d.GVR, cells, err)
		}
	}
	if len(Stored()) != len(Definitions())+1 {
		t.Error("the claims are not stored")
	}
}

func TestConfigValidates(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no store")
	}
	bad := Config{Store: shared.store, NodePorts: PortRange{First: 10, Last: 5}}
	if _, err := New(bad); err == nil {
		t.Error("ports that run backwards")
	}
}
