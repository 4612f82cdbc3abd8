package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// caller is a Pod whose guest may look names up, and reach the Service web and nothing else by that name.
const caller = `
apiVersion: v1
kind: Pod
metadata:
  name: caller
  labels: {petrel.run/app: caller}
  annotations: {petrel.run/egress: "dns, tcp:web:80, tcp:localhost:1-65535"}
spec:
  containers:
  - name: caller
    image: $PROBE
    ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: headless
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: alias
spec:
  type: ExternalName
  externalName: web.$NS.svc.cluster.local
`

// lookup has the caller resolve a name.
func (w *world) lookup(name string) (addresses []string, ok bool) {
	w.Helper()
	a := w.curl(podURL(w, "caller") + "lookup?name=" + url.QueryEscape(name))
	if a.Status != http.StatusOK {
		return nil, false
	}
	if err := json.Unmarshal([]byte(a.Body), &addresses); err != nil {
		w.Fatalf("addresses of %s: %v in %s", name, err, a.Body)
	}
	return addresses, true
}

// TestGuestsResolveTheClustersNames has a Wasm guest look Services up by each of their names and connect to one by it.
func TestGuestsResolveTheClustersNames(t *testing.T) {
	w := newWorld(t)
	w.apply(web)
	w.apply(strings.ReplaceAll(caller, "$NS", w.ns))
	w.rollout("web")
	w.kubectl("wait", "pod/caller", "--for=condition=Ready", "--timeout=150s")

	ip := w.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for _, name := range []string{"web", "web." + w.ns, "web." + w.ns + ".svc", "web." + w.ns + ".svc.cluster.local", "web." + w.ns + ".svc.cluster.local.", "alias"} {
		w.eventually(name+" to be known", func() error { // the node hears of what was just made a moment later
			if got, _ := w.lookup(name); len(got) != 1 || got[0] != ip {
				return fmt.Errorf("it is %v, want %s", got, ip)
			}
			return nil
		})
	}
	w.eventually("the headless service to have two addresses", func() error {
		if got, _ := w.lookup("headless"); len(got) != 2 {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	if got, ok := w.lookup("absent." + w.ns + ".svc.cluster.local."); ok {
		t.Errorf("a name that is not there is %v", got)
	}
	w.becomes(podURL(w, "caller")+"dial?address=web:80", http.StatusOK, "probe one web-")
	if answer := w.curl(podURL(w, "caller") + "dial?address=web." + w.ns + ":80"); answer.Status != http.StatusBadGateway {
		t.Errorf("a name that is not granted: %d %s", answer.Status, answer.Body)
	}
}
