package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestHostileGuests has a guest do each thing that a runtime must stop. Each is stopped and told as what it is, the app
// answers its next request, and a neighbour in the same process, asked all the while, never notices.
func TestHostileGuests(t *testing.T) {
	w := newWorld(t)
	healthy := w.deploy("healthy", w.modulePath("probe"), 201)
	hostile := w.deployWith("hostile", w.modulePath("hostile"), "cpu_time=300ms&wall_time=20s&memory=96Mi")
	slow := w.deployWith("slow", w.modulePath("hostile"), "wall_time=1s")
	neighbour := startNeighbour(w, healthy.URL)
	for _, c := range []struct {
		name   string
		url    string
		status int
		code   string
		words  []string // that the answer must have
	}{
		{"endless loop", hostile.URL + "spin", 504, "cpu_time", []string{"300ms", "spinForever"}},
		{"host calls without end", hostile.URL + "hostcalls", 504, "cpu_time", []string{"300ms"}},
		{"bulk operations without end", hostile.URL + "bulk", 504, "cpu_time", []string{"300ms", "memmove"}},
		{"endless recursion", hostile.URL + "recurse", 502, "trap", []string{"recurseForever", "depth"}},
		{"memory without end", hostile.URL + "grow", 507, "memory", []string{"96 MiB"}},
		{"waiting for nothing", slow.URL + "sleep?ms=60000", 504, "wall_time", []string{"1s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			began := time.Now()
			a := w.curl(c.url)
			took := time.Since(began)
			equal(t, "status", a.Status, c.status)
			equal(t, "content type", a.Header.Get("Content-Type"), "application/problem+json")
			equal(t, "code", parse[problem](w, a.Body).Code, c.code)
			contains(t, a.Body, c.words...)
			if took > 40*time.Second {
				t.Errorf("it was stopped after %s", took)
			}
			app := c.url[:strings.Index(c.url[len("http://"):], "/")+len("http://")+1]
			contains(t, w.get(app, 200).Body, "at your service")
		})
	}
	neighbour.verify(w)

	// What was stopped is told to who looks after the app.
	const conditions = `jsonpath={range .items[*].status.conditions[?(@.type=="petrel.run/GuestHealthy")]}{.status} {.reason} {.message}{"\n"}{end}`
	w.comes(`^False [A-Za-z]+ .`, "get", "pods", "-l", "petrel.run/app=hostile", "-o", conditions)
	w.comes(`CPUTimeExceeded|MemoryExceeded|Trap`, "events")
	address := w.kubectl("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}:{.items[0].status.daemonEndpoints.kubeletEndpoint.Port}`)
	matches(t, w.curl("http://"+address+"/metrics").Body, `^petrel_wasmrt_guest_failures_total\{code="cpu_time",.*namespace="`+w.ns+`".*\} [1-9]`)
	equal(t, "restarts", w.kubectl("get", "pods", "-o", `jsonpath={.items[*].status.containerStatuses[*].restartCount}`), "0 0 0")
}
