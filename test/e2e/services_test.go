package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestClusterIP asks the Service's own address: it answers, and each pod gets its part.
func TestClusterIP(t *testing.T) {
	w := newWorld(t)
	w.apply(strings.ReplaceAll(web, "replicas: 2", "replicas: 3"))
	w.rollout("web")
	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	url := "http://" + ip + ":80/"
	w.becomes(url, 200, "probe one")

	const requests = 90
	w.eventually("each pod to answer", func() error { // the proxy hears of a ready pod a moment later
		if some := tally(w, url, requests/3); len(some) != 3 {
			return fmt.Errorf("those that answered: %v", some)
		}
		return nil
	})
	seen := tally(w, url, requests)
	for pod, n := range seen {
		if n < requests/3/4 {
			t.Errorf("pod %s answered only %d of %d", pod, n, requests)
		}
	}

	// A pod whose label no longer matches is out at once, though it lives on.
	var one string
	for pod := range seen {
		one = pod
	}
	w.kubectl("label", "pod", one, "app=other", "--overwrite")
	w.eventually("the relabelled pod to get no requests", func() error {
		if n := tally(w, url, 20)[one]; n != 0 {
			return fmt.Errorf("it answered %d of 20", n)
		}
		return nil
	})
	w.kubectl("delete", "pod", one, "--wait=false")

	w.kubectl("scale", "deployment/web", "--replicas=0")
	w.eventually("the service to have no endpoints", func() error {
		if eps := w.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].addresses}"); eps != "" {
			return fmt.Errorf("endpoints %s", eps)
		}
		return nil
	})
	w.eventually("the address to refuse", func() error {
		if a, err := fetch(t.Context(), url); err == nil {
			return fmt.Errorf("it answers %d %s", a.Status, a.Body)
		}
		return nil
	})
	w.kubectl("delete", "service", "web")
	w.becomes(w.appURL("web"), 404, "")
}

// tally counts which pods answer, each request on a connection of its own: a Service balances connections.
func tally(w *world, url string, requests int) map[string]int {
	w.Helper()
	seen := map[string]int{}
	for range requests {
		req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, url, nil)
		if err != nil {
			w.Fatal(err)
		}
		req.Close = true
		a, err := send(req)
		if err != nil || a.Status != 200 {
			w.Fatalf("GET %s: %v %d %s", url, err, a.Status, a.Body)
		}
		seen[a.Header.Get("X-Pod")]++
	}
	return seen
}

// TestExpose makes the Service by kubectl expose.
func TestExpose(t *testing.T) {
	w := newWorld(t)
	w.apply(server)
	w.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=150s")
	w.kubectl("expose", "pod", "server", "--port=8000", "--target-port=8080", "--labels=petrel.run/app=shown")
	ip := w.kubectl("get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")
	w.becomes("http://"+ip+":8000/", 200, "probe")
}

// TestKubernetesService reaches the API at the address that every cluster gives it.
func TestKubernetesService(t *testing.T) {
	w := newWorld(t)
	matches(t, w.kubectl("get", "service", "kubernetes", "-n", "default"), `^kubernetes +ClusterIP +127\.\d+\.0\.1 `)
	contains(t, w.kubectl("get", "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes"), "127.0.0.1")
}

// TestRollingUpdateUnderLoad rolls an app again and again while clients ask for it: no request fails, and in the end
// the new release answers.
func TestRollingUpdateUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.rollout("web")
	url := w.appURL("web")
	w.becomes(url, 200, "probe one")

	ctx, stop := context.WithCancel(t.Context())
	load := startLoad(ctx, url, 4)
	w.kubectl("scale", "deployment/web", "--replicas=4")
	w.rollout("web")
	for _, release := range []string{"two", "three", "four", "five", "six"} { // each ends four pods that are being asked
		w.kubectl("set", "env", "deployment/web", "RELEASE="+release)
		w.rollout("web")
	}
	w.kubectl("scale", "deployment/web", "--replicas=1")
	w.kubectl("wait", "deployment/web", "--for=jsonpath={.status.replicas}=1", "--timeout=150s")
	stop()
	load.wait()
	t.Logf("%d requests, releases seen: %v", load.requests, load.bodies)
	for _, failure := range load.failures {
		t.Error(failure)
	}
	if load.requests < 20 {
		t.Errorf("only %d requests were made", load.requests)
	}
	w.becomes(url, 200, "probe six")
}

// load asks for a URL from several clients without a pause and keeps what failed.
type load struct {
	wg       sync.WaitGroup
	mu       sync.Mutex
	requests int
	bodies   map[string]int
	failures []string
}

func startLoad(ctx context.Context, url string, clients int) *load {
	l := &load{bodies: map[string]int{}}
	for range clients {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				a, err := fetch(ctx, url)
				if ctx.Err() == nil {
					l.note(began, a, err)
				}
			}
		})
	}
	return l
}

func (l *load) note(began time.Time, a answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	switch {
	case err != nil:
		l.failures = append(l.failures, fmt.Sprintf("%s: after %s: %v", began.Format(time.TimeOnly), time.Since(began), err))
	case a.Status != 200:
		l.failures = append(l.failures, fmt.Sprintf("%s: after %s: %d %s", began.Format(time.TimeOnly), time.Since(began), a.Status, a.Body))
	default:
		release, _, _ := strings.Cut(strings.TrimPrefix(a.Body, "probe "), " ")
		l.bodies[release]++
	}
}

func (l *load) wait() { l.wg.Wait() }
