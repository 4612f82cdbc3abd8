package api

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits bound a guest. What is not set takes the runtime's default.
//
// +k8s:deepcopy-gen=true
type Limits struct {
	// Memory is the most linear memory of one instance.
	Memory *resource.Quantity `json:"memory,omitempty"`
	// CPUTime is the most processor time of one request.
	CPUTime *metav1.Duration `json:"cpuTime,omitempty"`
	// WallTime is the longest a request may take, from its arrival at the pod to its response.
	WallTime *metav1.Duration `json:"wallTime,omitempty"`
	// Concurrency is how many requests a pod serves at once.
	Concurrency *int32 `json:"concurrency,omitempty"`
	// Queue is how many more requests may wait for their turn at a pod.
	Queue *int32 `json:"queue,omitempty"`
	// QueueTime is how long a request waits for its turn.
	QueueTime *metav1.Duration `json:"queueTime,omitempty"`
	// MaxRequestBody is the largest body of a request.
	MaxRequestBody *resource.Quantity `json:"maxRequestBody,omitempty"`
	// MaxResponseBody is the largest body of a response.
	MaxResponseBody *resource.Quantity `json:"maxResponseBody,omitempty"`
	// CallDepth is how deep calls may nest in the guest.
	CallDepth *int32 `json:"callDepth,omitempty"`
	// MaxFiles is how many files and sockets an instance may have open.
	MaxFiles *int32 `json:"maxFiles,omitempty"`
}

// Bounds on an App's limits. A Go guest needs some megabytes to start at all, a C one a page; 4 GiB is what 32-bit
// WebAssembly can address. A body may pass through without being held, so it may be larger than that.
const (
	minMemory   = 64 << 10
	maxMemory   = 4 << 30
	maxBody     = 1 << 40
	maxWallTime = time.Hour
	maxCPUTime  = time.Hour
	maxQueue    = 10 * time.Minute
)

func validateLimits(l *Limits, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if l.Memory != nil && (l.Memory.Value() < minMemory || l.Memory.Value() > maxMemory) {
		errs = append(errs, field.Invalid(path.Child("memory"), l.Memory.String(), "must be between 64Ki and 4Gi"))
	}
	for _, body := range []struct {
		name  string
		value *resource.Quantity
	}{{"maxRequestBody", l.MaxRequestBody}, {"maxResponseBody", l.MaxResponseBody}} {
		if v := body.value; v != nil && (v.Value() < 1 || v.Value() > maxBody) {
			errs = append(errs, field.Invalid(path.Child(body.name), v.String(), "must be between 1 and 1Ti"))
		}
	}
	for _, d := range []struct {
		name  string
		value *metav1.Duration
		most  time.Duration
	}{{"cpuTime", l.CPUTime, maxCPUTime}, {"wallTime", l.WallTime, maxWallTime}, {"queueTime", l.QueueTime, maxQueue}} {
		if v := d.value; v != nil && (v.Duration <= 0 || v.Duration > d.most) {
			errs = append(errs, field.Invalid(path.Child(d.name), v.Duration.String(), "must be more than 0s and at most "+d.most.String()))
		}
	}
	for _, n := range []struct {
		name        string
		value       *int32
		least, most int64
	}{
		{"concurrency", l.Concurrency, 1, MaxConcurrency}, {"queue", l.Queue, 1, MaxQueue},
		{"callDepth", l.CallDepth, 1, MaxCallDepth}, {"maxFiles", l.MaxFiles, 1, MaxFiles},
	} {
		if n.value != nil {
			errs = append(errs, between(int64(*n.value), n.least, n.most, path.Child(n.name))...)
		}
	}
	return errs
}
