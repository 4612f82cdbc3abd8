package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

func TestReadLimits(t *testing.T) {
	got, err := readLimits(map[string]string{
		"petrel.run/isolation": "fresh", "petrel.run/http": "wagi", "petrel.run/cpu-time": "50ms", "petrel.run/wall-time": "5s",
		"petrel.run/queue-time": "1s", "petrel.run/concurrency": "7", "petrel.run/queue": "0", "petrel.run/call-depth": "1000",
		"petrel.run/max-files": "9", "petrel.run/max-request-body": "10Mi", "petrel.run/max-response-body": "5k",
		"petrel.run/egress": "tcp:db:5432, dns,", "petrel.run/pod-ip": "127.0.0.1", "other": "x",
	})
	want := control.Limits{Isolation: "fresh", HTTP: "wagi", CPUTime: 50 * time.Millisecond, WallTime: 5 * time.Second, QueueTime: time.Second,
		Concurrency: 7, Queue: -1, CallDepth: 1000, MaxFiles: 9, MaxRequestBody: 10 << 20, MaxResponseBody: 5000, Egress: []string{"tcp:db:5432", "dns"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("limits %+v, %v; want %+v", got, err, want)
	}
	if got, err := readLimits(nil); err != nil || fmt.Sprint(got) != fmt.Sprint(control.Limits{}) {
		t.Errorf("none: %+v, %v", got, err)
	}
}

func TestReadLimitsRefuses(t *testing.T) {
	for name, values := range map[string][]string{
		"isolation": {"none", "Reset"}, "http": {"maybe"}, "cpu-time": {"5", "-1s", "0s"}, "wall-time": {"soon"}, "queue-time": {"x"},
		"concurrency": {"0", "10001", "x"}, "queue": {"-1", "100001"}, "call-depth": {"0", "1000001"}, "max-files": {"0", "5000"},
		"max-request-body": {"0", "-1", "1.5Mi", "1Ei", "x", "Mi", "1Mii", "9999999999Gi"}, "max-response-body": {"ten"},
		"egress": {strings.Repeat("dns,", control.MaxGrants+1), "ftp:x:1", "tcp:x"},
	} {
		for _, v := range values {
			_, err := readLimits(map[string]string{"petrel.run/" + name: v})
			if err == nil || !strings.Contains(err.Error(), "petrel.run/"+name) || !strings.Contains(err.Error(), v) {
				t.Errorf("%s %q: %v", name, v, err)
			}
		}
	}
}

func FuzzReadLimits(f *testing.F) {
	f.Add("max-request-body", "10Mi")
	f.Add("queue", "5")
	f.Fuzz(func(t *testing.T, name, v string) {
		l, err := readLimits(map[string]string{"petrel.run/" + name: v})
		if err == nil && l.Validate() != nil {
			t.Errorf("%s %q gives %+v", name, v, l)
		}
	})
}
