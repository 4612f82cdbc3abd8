package apps

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/petrelrun/petrel/controlplane/api"
)

// change is what a deploy wants different, already parsed; nil and empty leave things as they are.
type change struct {
	image     string // by digest where it is ours
	module    *api.ModuleInfo
	env       map[string]string
	args      []string
	replicas  *int32
	isolation *string
	http      *string
	egress    []string
	limits    []func(*api.Limits) // each sets one limit
}

// apply makes the template that the change wants of the one that is.
func (c *change) apply(old *api.AppTemplate) api.AppTemplate {
	t := *old.DeepCopy()
	if c.image != "" {
		t.Image = c.image
	}
	if c.env != nil {
		t.Env = nil
		for _, name := range slices.Sorted(maps.Keys(c.env)) {
			t.Env = append(t.Env, corev1.EnvVar{Name: name, Value: c.env[name]})
		}
	}
	if c.args != nil {
		t.Args = slices.Clone(c.args)
		if len(t.Args) == 0 {
			t.Args = nil
		}
	}
	if c.isolation != nil {
		t.Isolation = *c.isolation
	}
	if c.http != nil {
		t.HTTP = *c.http
	}
	if c.egress != nil {
		t.Egress = slices.DeleteFunc(slices.Clone(c.egress), func(grant string) bool { return grant == "" })
		if len(t.Egress) == 0 {
			t.Egress = nil
		}
	}
	for _, set := range c.limits {
		set(&t.Limits)
	}
	return t
}

// differences names what the new template changes.
func differences(old, next *api.AppTemplate) []string {
	out := []string{}
	for _, d := range []struct {
		name    string
		differs bool
	}{
		{"code", old.Image != next.Image},
		{"env", !equality.Semantic.DeepEqual(old.Env, next.Env)},
		{"args", !slices.Equal(old.Args, next.Args)},
		{"isolation", old.Isolation != next.Isolation},
		{"http", old.HTTP != next.HTTP},
		{"egress", !slices.Equal(old.Egress, next.Egress)},
		{"limits", !equality.Semantic.DeepEqual(old.Limits, next.Limits)},
	} {
		if d.differs {
			out = append(out, d.name)
		}
	}
	return out
}
