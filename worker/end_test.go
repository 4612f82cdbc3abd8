package worker

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestDeletionDeadline(t *testing.T) {
	asked := time.Date(2026, 1, 1, 0, 0, 0, 900_000_000, time.UTC)
	for name, test := range map[string]struct {
		grace int64
		seen  time.Duration // after it was asked
		want  time.Duration // left from then
	}{
		"a short grace is not cut by the API's seconds": {1, 10 * time.Millisecond, time.Second},
		"seen at once":                  {30, 0, 30 * time.Second},
		"seen late, as by a new worker": {30, 20 * time.Second, 10*time.Second + 100*time.Millisecond},
		"seen when it was over":         {5, time.Minute, -55*time.Second + 100*time.Millisecond},
		"no grace":                      {0, 0, 0},
	} {
		p := testPod("a", "idle")
		stamp := metav1.NewTime(asked.Add(time.Duration(test.grace) * time.Second)).Rfc3339Copy()
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &stamp, ptr.To(test.grace)
		now := asked.Add(test.seen)
		if got := deletionDeadline(p, now).Sub(now); got != test.want {
			t.Errorf("%s: %v left, want %v", name, got, test.want)
		}
	}
}
