package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTally(t *testing.T) {
	s := settings{successes: 2, failures: 3}
	for results, want := range map[string]string{
		"+":         ".",
		"++":        ".g",
		"+-+-+-":    "......",
		"---":       "..b",
		"++---":     ".g..b",
		"++--+--+":  ".g......",
		"------":    "..b...",
		"---++---":  "..b.g..b",
		"++++--+++": ".g.......",
	} {
		var tally tally
		got := ""
		for _, r := range results {
			switch changed := tally.add(r == '+', s); {
			case !changed:
				got += "."
			case tally.now == good:
				got += "g"
			default:
				got += "b"
			}
		}
		if got != want {
			t.Errorf("%s gives %s, want %s", results, got, want)
		}
	}
}

// script answers checks as a list of errors says, by probe path, and goes on with the last.
type script struct {
	mu    sync.Mutex
	plan  map[string][]error
	times map[string][]time.Time
}

func (s *script) Check(_ context.Context, _ Target, p *corev1.Probe) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := p.HTTPGet.Path
	if s.times == nil {
		s.times = map[string][]time.Time{}
	}
	s.times[path] = append(s.times[path], time.Now())
	answers := s.plan[path]
	if len(answers) == 0 {
		return nil
	}
	if len(answers) > 1 {
		s.plan[path] = answers[1:]
	}
	return answers[0]
}

func get(path string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path}}, PeriodSeconds: 5}
}

func TestReadinessAndLivenessWaitForStartup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("not yet")
		s := &script{plan: map[string][]error{"startup": {failed, failed, nil}, "live": {nil, failed}}}
		c := &corev1.Container{StartupProbe: get("startup"), ReadinessProbe: get("ready"), LivenessProbe: get("live")}
		c.StartupProbe.InitialDelaySeconds = 2
		began := time.Now()
		var mu sync.Mutex
		var got []string
		w := NewProber(s).Watch(Target{Container: c}, began, func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			if r.Changed {
				got = append(got, fmt.Sprintf("%s %v at %v", r.Kind, r.Err == nil, time.Since(began)))
			}
		})
		time.Sleep(time.Minute)
		w.Stop()
		want := []string{"Startup true at 12s", "Readiness true at 12s", "Liveness true at 12s", "Liveness false at 27s"}
		seen := map[string]bool{}
		for _, g := range got {
			seen[g] = true
		}
		for _, w := range want {
			if !seen[w] {
				t.Errorf("%q is missing in %q", w, got)
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if n := len(s.times["startup"]); n != 3 {
			t.Errorf("%d startup checks, want 3: it is done once it has succeeded", n)
		}
		checks := len(s.times["ready"])
		time.Sleep(time.Minute)
		if len(s.times["ready"]) != checks {
			t.Error("checks go on after Stop")
		}
	})
}

// TestChecksThatCannotBeMade decide nothing, however many there are, and the next one that can be made counts.
func TestChecksThatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, failed := unknown{errors.New("runtime is away")}, errors.New("not well")
		s := &script{plan: map[string][]error{"live": {nil, failed, away, away, away, away, failed}}}
		c := &corev1.Container{LivenessProbe: get("live")}
		c.LivenessProbe.FailureThreshold = 2
		began := time.Now()
		var mu sync.Mutex
		got := ""
		w := NewProber(s).Watch(Target{Container: c}, began, func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case r.Unknown:
				got += "?"
			case r.Err != nil:
				got += "-"
			default:
				got += "+"
			}
			if r.Changed {
				got += "!"
			}
		})
		time.Sleep(31 * time.Second)
		w.Stop()
		if want := "+!-????-!"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestInitialDelayCountsFromTheContainersStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		c := &corev1.Container{ReadinessProbe: get("ready")}
		c.ReadinessProbe.InitialDelaySeconds = 30
		now := time.Now()
		w := NewProber(s).Watch(Target{Container: c}, now.Add(-20*time.Second), func(Report) {}) // adopted after 20 seconds
		time.Sleep(11 * time.Second)
		w.Stop()
		if times := s.times["ready"]; len(times) != 1 || times[0].Sub(now) != 10*time.Second {
			t.Errorf("checked at %v, want once after 10 seconds", times)
		}
	})
}

type hanging struct{}

func (hanging) Check(ctx context.Context, _ Target, _ *corev1.Probe) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTimeoutAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &corev1.Container{LivenessProbe: get("live")}
		c.LivenessProbe.TimeoutSeconds = 3
		var mu sync.Mutex
		reports := 0
		w := NewProber(hanging{}).Watch(Target{Container: c}, time.Now(), func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			if !errors.Is(r.Err, context.DeadlineExceeded) {
				t.Errorf("report %v, want the deadline", r.Err)
			}
			reports++
		})
		time.Sleep(4 * time.Second)
		mu.Lock()
		if reports != 1 {
			t.Errorf("%d reports after the timeout, want 1", reports)
		}
		mu.Unlock()
		time.Sleep(2 * time.Second) // within the second check
		w.Stop()
		if reports != 1 {
			t.Error("a cancelled check was reported")
		}
	})
}

func TestNetwork(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "app.example" || r.Header.Get("X-A") != "b" || !strings.HasPrefix(r.UserAgent(), "petrel-probe") {
			http.Error(w, "wrong headers", http.StatusTeapot)
		}
	})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "database is away", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/bad", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	ip, portText, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	port := intstr.Parse(portText)
	c := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port.IntValue())}}}
	headers := []corev1.HTTPHeader{{Name: "Host", Value: "app.example"}, {Name: "X-A", Value: "b"}}
	http := func(path string, port intstr.IntOrString) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: port, HTTPHeaders: headers}}}
	}
	tcp := func(port intstr.IntOrString) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}}
	}
	for name, test := range map[string]struct {
		probe *corev1.Probe
		want  string
	}{
		"good":          {http("/good", port), ""},
		"without slash": {http("good", port), ""},
		"named port":    {http("/good", intstr.FromString("web")), ""},
		"bad":           {http("/bad", port), "HTTP probe failed with statuscode: 503: database is away\n"},
		"redirect here": {http("/here", port), "HTTP probe failed with statuscode: 503: database is away\n"},
		"redirect away": {http("/away", port), ""},
		"no such name":  {http("/good", intstr.FromString("nope")), "container c has no port nope"},
		"refused":       {http("/good", intstr.FromInt32(1)), "refused"},
		"tcp":           {tcp(port), ""},
		"tcp refused":   {tcp(intstr.FromInt32(1)), "refused"},
		"nothing":       {&corev1.Probe{}, "neither"},
	} {
		err := NewActions(nil).Check(t.Context(), Target{Container: c, IP: ip}, test.probe)
		if got := fmt.Sprint(err); (test.want == "") != (err == nil) || err != nil && !strings.Contains(got, test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
