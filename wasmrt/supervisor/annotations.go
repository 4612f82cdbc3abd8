package supervisor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// annotationPrefix is that of the annotations of a sandbox that say how its guests are run.
const annotationPrefix = "petrel.run/"

const (
	// maxConcurrency bounds what may be asked for; each request that runs holds an instance.
	maxConcurrency = 10_000
	// maxQueue bounds it; each request that waits holds a connection.
	maxQueue = 100_000
	// maxCallDepth bounds it; a call takes up to some hundred bytes of the host's stack.
	maxCallDepth = 1_000_000
	// maxFiles bounds it, far below what a process may have open.
	maxFiles = 4096
)

// isolations are the words that the engine knows.
var isolations = []string{"reset", "fresh", "shared"}

// annotations are those that limit guests, each with what reads its value.
var annotations = []struct {
	name string
	read func(l *control.Limits, v string) error
}{
	{"isolation", func(l *control.Limits, v string) error { return oneOf(&l.Isolation, v, isolations) }},
	{"http", func(l *control.Limits, v string) error { return oneOf(&l.HTTP, v, module.HTTPModes()) }},
	{"cpu-time", func(l *control.Limits, v string) error { return duration(&l.CPUTime, v) }},
	{"wall-time", func(l *control.Limits, v string) error { return duration(&l.WallTime, v) }},
	{"queue-time", func(l *control.Limits, v string) error { return duration(&l.QueueTime, v) }},
	{"concurrency", func(l *control.Limits, v string) error { return number(&l.Concurrency, v, 1, maxConcurrency) }},
	{"queue", readQueue},
	{"call-depth", func(l *control.Limits, v string) error { return number(&l.CallDepth, v, 1, maxCallDepth) }},
	{"max-files", func(l *control.Limits, v string) error { return number(&l.MaxFiles, v, 1, maxFiles) }},
	{"max-request-body", func(l *control.Limits, v string) error { return quantity(&l.MaxRequestBody, v) }},
	{"max-response-body", func(l *control.Limits, v string) error { return quantity(&l.MaxResponseBody, v) }},
	{"egress", readEgress},
}

// readLimits reads what a sandbox's annotations say. The error names annotation, value, and what is allowed.
func readLimits(of map[string]string) (control.Limits, error) {
	var l control.Limits
	for _, a := range annotations {
		v := of[annotationPrefix+a.name]
		if v == "" {
			continue
		}
		if err := a.read(&l, v); err != nil {
			return control.Limits{}, fmt.Errorf("annotation %s%s: %q is %w", annotationPrefix, a.name, v, err)
		}
	}
	return l, nil
}

func oneOf(into *string, v string, allowed []string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("none of %s", strings.Join(allowed, ", "))
	}
	*into = v
	return nil
}

func duration(into *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return fmt.Errorf("no positive duration such as 500ms or 30s")
	}
	*into = d
	return nil
}

func number[T int | uint32](into *T, v string, least, most int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return fmt.Errorf("no number from %d to %d", least, most)
	}
	*into = T(n)
	return nil
}

// readQueue reads how many requests wait. None is a word of its own in the limits, where zero is the default.
func readQueue(l *control.Limits, v string) error {
	if err := number(&l.Queue, v, 0, maxQueue); err != nil {
		return err
	}
	if l.Queue == 0 {
		l.Queue = -1
	}
	return nil
}

// quantity reads bytes as Kubernetes writes them, whole numbers with a suffix.
func quantity(into *int64, v string) error {
	digits := strings.TrimRight(v, "kKMGTi")
	factor, ok := map[string]int64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}[v[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 1 || n > math.MaxInt64/factor {
		return fmt.Errorf("no positive number of bytes such as 512Ki or 10Mi")
	}
	*into = n * factor
	return nil
}

func readEgress(l *control.Limits, v string) error {
	for grant := range strings.SplitSeq(v, ",") {
		if grant = strings.TrimSpace(grant); grant != "" {
			l.Egress = append(l.Egress, grant)
		}
	}
	if len(l.Egress) > control.MaxGrants {
		return fmt.Errorf("a list of %d grants: at most %d are taken", len(l.Egress), control.MaxGrants)
	}
	if _, err := egress.Parse(l.Egress); err != nil {
		return fmt.Errorf("no list of grants such as tcp:db:5432, https:api.example.com, dns or *: %w", err)
	}
	return nil
}
