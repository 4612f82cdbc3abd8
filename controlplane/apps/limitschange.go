package apps

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// limitField is one limit: what it is called, where a request has it and where an App.
type limitField[Wire, Kept any] struct {
	name string
	wire func(*LimitsRequest) **Wire
	kept func(*api.Limits) **Kept
}

var (
	quantityLimits = []limitField[string, resource.Quantity]{
		{"memory", func(l *LimitsRequest) **string { return &l.Memory }, func(l *api.Limits) **resource.Quantity { return &l.Memory }},
		{"max_request_body", func(l *LimitsRequest) **string { return &l.MaxRequestBody }, func(l *api.Limits) **resource.Quantity { return &l.MaxRequestBody }},
		{"max_response_body", func(l *LimitsRequest) **string { return &l.MaxResponseBody }, func(l *api.Limits) **resource.Quantity { return &l.MaxResponseBody }},
	}
	durationLimits = []limitField[string, metav1.Duration]{
		{"cpu_time", func(l *LimitsRequest) **string { return &l.CPUTime }, func(l *api.Limits) **metav1.Duration { return &l.CPUTime }},
		{"wall_time", func(l *LimitsRequest) **string { return &l.WallTime }, func(l *api.Limits) **metav1.Duration { return &l.WallTime }},
		{"queue_time", func(l *LimitsRequest) **string { return &l.QueueTime }, func(l *api.Limits) **metav1.Duration { return &l.QueueTime }},
	}
	countLimits = []limitField[int32, int32]{
		{"concurrency", func(l *LimitsRequest) **int32 { return &l.Concurrency }, func(l *api.Limits) **int32 { return &l.Concurrency }},
		{"queue", func(l *LimitsRequest) **int32 { return &l.Queue }, func(l *api.Limits) **int32 { return &l.Queue }},
		{"call_depth", func(l *LimitsRequest) **int32 { return &l.CallDepth }, func(l *api.Limits) **int32 { return &l.CallDepth }},
		{"max_files", func(l *LimitsRequest) **int32 { return &l.MaxFiles }, func(l *api.Limits) **int32 { return &l.MaxFiles }},
	}
)

// limitNames are the limits as queries name them.
func limitNames() []string {
	var out []string
	for _, f := range quantityLimits {
		out = append(out, f.name)
	}
	for _, f := range durationLimits {
		out = append(out, f.name)
	}
	for _, f := range countLimits {
		out = append(out, f.name)
	}
	return out
}

// set has the limit changed to v; nil goes back to the runtime's default.
func (f limitField[Wire, Kept]) set(c *change, v *Kept) {
	c.limits = append(c.limits, func(l *api.Limits) { *f.kept(l) = v })
}

// setLimits parses the limits; the answer is the field that is wrong.
func (c *change) setLimits(l LimitsRequest) *Problem {
	for _, f := range quantityLimits {
		text := *f.wire(&l)
		switch {
		case text == nil:
		case *text == "":
			f.set(c, nil)
		default:
			q, err := resource.ParseQuantity(*text)
			if err != nil {
				return invalid("invalid", "limits."+f.name, f.name+" "+*text+" is no quantity", "write bytes as 64Mi or 1Gi")
			}
			f.set(c, &q)
		}
	}
	for _, f := range durationLimits {
		text := *f.wire(&l)
		switch {
		case text == nil:
		case *text == "":
			f.set(c, nil)
		default:
			d, err := time.ParseDuration(*text)
			if err != nil {
				return invalid("invalid", "limits."+f.name, f.name+" "+*text+" is no duration", "write it as 500ms, 10s or 2m")
			}
			f.set(c, &metav1.Duration{Duration: d})
		}
	}
	for _, f := range countLimits {
		if n := *f.wire(&l); n != nil && *n == 0 {
			f.set(c, nil)
		} else if n != nil {
			f.set(c, n)
		}
	}
	return nil
}

// limitsOf is an App's limits as answers have them.
func limitsOf(l *api.Limits) Limits {
	quantity := func(q *resource.Quantity) string {
		if q == nil {
			return ""
		}
		return q.String()
	}
	duration := func(d *metav1.Duration) string {
		if d == nil {
			return ""
		}
		return d.Duration.String()
	}
	return Limits{
		Memory: quantity(l.Memory), MaxRequestBody: quantity(l.MaxRequestBody), MaxResponseBody: quantity(l.MaxResponseBody),
		CPUTime: duration(l.CPUTime), WallTime: duration(l.WallTime), QueueTime: duration(l.QueueTime),
		Concurrency: valueOr0(l.Concurrency), Queue: valueOr0(l.Queue), CallDepth: valueOr0(l.CallDepth), MaxFiles: valueOr0(l.MaxFiles),
	}
}

func valueOr0(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// numberIn reads a count that the query names.
func numberIn(name, text string) (*int32, *Problem) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil, badRequest(name, name+"="+text+" is no number", "write "+name+"=2")
	}
	small := int32(n)
	return &small, nil
}
