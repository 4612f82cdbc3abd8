package controller

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// appAnnotations carry to the runtime what Kubernetes has no field for; an empty value takes the entry away.
func appAnnotations(t *api.AppTemplate) map[string]string {
	l := &t.Limits
	return map[string]string{
		api.AnnotationIsolation:       t.Isolation,
		api.AnnotationHTTP:            t.HTTP,
		api.AnnotationEgress:          strings.Join(t.Egress, ","),
		api.AnnotationCPUTime:         duration(l.CPUTime),
		api.AnnotationWallTime:        duration(l.WallTime),
		api.AnnotationConcurrency:     count(l.Concurrency),
		api.AnnotationQueue:           count(l.Queue),
		api.AnnotationQueueTime:       duration(l.QueueTime),
		api.AnnotationMaxRequestBody:  quantity(l.MaxRequestBody),
		api.AnnotationMaxResponseBody: quantity(l.MaxResponseBody),
		api.AnnotationCallDepth:       count(l.CallDepth),
		api.AnnotationMaxFiles:        count(l.MaxFiles),
	}
}

func duration(d *metav1.Duration) string {
	if d == nil {
		return ""
	}
	return d.Duration.String()
}

func count(n *int32) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(int64(*n), 10)
}

func quantity(q *resource.Quantity) string {
	if q == nil {
		return ""
	}
	return q.String()
}
