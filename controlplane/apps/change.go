package apps

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// change is what a deploy wants different, already parsed; nil and empty leave things as they are.
type change struct {
	image    string // by digest where it is ours
	module   *api.ModuleInfo
	env      map[string]string
	args     []string
	replicas *int32
	limits   LimitsRequest
	memory   *resource.Quantity
	wallTime *metav1.Duration
}

// setLimits parses the limits; the answer is the field that is wrong.
func (c *change) setLimits(l LimitsRequest) *Problem {
	c.limits = l
	if l.Memory != nil && *l.Memory != "" {
		q, err := resource.ParseQuantity(*l.Memory)
		if err != nil {
			return invalid("invalid", "limits.memory", "memory "+*l.Memory+" is no quantity", "write bytes as 64Mi or 1Gi")
		}
		c.memory = &q
	}
	if l.WallTime != nil && *l.WallTime != "" {
		d, err := time.ParseDuration(*l.WallTime)
		if err != nil {
			return invalid("invalid", "limits.wall_time", "wall_time "+*l.WallTime+" is no duration", "write it as 500ms, 10s or 2m")
		}
		c.wallTime = &metav1.Duration{Duration: d}
	}
	return nil
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
	if c.limits.Memory != nil {
		t.Limits.Memory = c.memory
	}
	if c.limits.WallTime != nil {
		t.Limits.WallTime = c.wallTime
	}
	if n := c.limits.Concurrency; n != nil {
		t.Limits.Concurrency = n
		if *n == 0 {
			t.Limits.Concurrency = nil
		}
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
		{"limits", !equality.Semantic.DeepEqual(old.Limits, next.Limits)},
	} {
		if d.differs {
			out = append(out, d.name)
		}
	}
	return out
}

func limitsOf(l *api.Limits) Limits {
	var out Limits
	if l.Memory != nil {
		out.Memory = l.Memory.String()
	}
	if l.WallTime != nil {
		out.WallTime = l.WallTime.Duration.String()
	}
	if l.Concurrency != nil {
		out.Concurrency = *l.Concurrency
	}
	return out
}
