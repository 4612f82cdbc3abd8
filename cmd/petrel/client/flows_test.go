package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// flowCluster is as much of a cluster's API as petrel flows asks: nodes that tell one flow, or refuse.
type flowCluster struct {
	mu      sync.Mutex
	nodes   []string
	queries []string
	breaks  atomic.Int64 // so many connections of node "flaky" end at once
}

const (
	flowLine   = `{"time":"2026-01-02T03:04:05.678Z","kind":"connect","direction":"egress","protocol":6,"source":"10.42.0.1:40000","destination":"10.42.1.2:5432","serviceAddr":"10.43.0.9:5432","sourcePod":"shop/web-1","destinationPod":"shop/db-0","service":"shop/db:pg"}`
	deniedLine = `{"time":"2026-01-02T03:04:06Z","kind":"denied","direction":"ingress","protocol":17,"source":"192.0.2.7:999","destination":"10.42.1.2:53","destinationPod":"shop/db-0","lost":7}`
)

func (c *flowCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Path == "/api/v1/nodes" {
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		for _, name := range c.nodes {
			list.Items = append(list.Items, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}
		answer(w, http.StatusOK, &list)
		return
	}
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/nodes/"), "/proxy/flows")
	c.queries = append(c.queries, name+"?"+r.URL.RawQuery)
	switch {
	case name == "user":
		http.Error(w, "this node records no flows", http.StatusNotImplemented)
		return
	case name == "flaky" && c.breaks.Add(-1) >= 0:
		return
	}
	fmt.Fprintln(w, map[string]string{"denying": deniedLine}[name]+map[bool]string{true: flowLine}[name != "denying"])
	w.(http.Flusher).Flush()
	c.mu.Unlock()
	<-r.Context().Done()
	c.mu.Lock()
}

// flows runs the command against the cluster and answers what it printed.
func (c *flowCluster) flows(t *testing.T, ctx context.Context, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	server := httptest.NewServer(c)
	defer server.Close()
	var out, errs bytes.Buffer
	root := NewRoot("test", Streams{Out: &out, Err: &errs})
	code = Run(ctx, root, append([]string{"flows", "--server", server.URL, "--for", "1s"}, args...), &errs)
	transport.CloseIdleConnections()
	return out.String(), errs.String(), code
}

func TestFlowsInEachForm(t *testing.T) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC).Local().Format("15:04:05.000")
	for output, want := range map[string]string{
		"text": clock + "  forwarded  egress   TCP   shop/web-1:40000 -> shop/db-0:5432  by shop/db:pg\n",
		"wide": clock + "  forwarded  egress   TCP   shop/web-1 (10.42.0.1:40000) -> shop/db-0 (10.42.1.2:5432)  by shop/db:pg 10.43.0.9:5432  on one\n",
	} {
		c := &flowCluster{nodes: []string{"one"}}
		if out, errs, code := c.flows(t, t.Context(), "-o", output); out != want || code != 0 {
			t.Errorf("%s: %q, want %q; %s, exit %d", output, out, want, errs, code)
		}
	}
	c := &flowCluster{nodes: []string{"one"}}
	out, _, _ := c.flows(t, t.Context(), "-o", "json")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil || got["node"] != "one" || got["service"] != "shop/db:pg" || got["source"] != "10.42.0.1:40000" {
		t.Errorf("json: %s, %v", out, err)
	}
	c = &flowCluster{nodes: []string{"denying"}}
	out, errs, _ := c.flows(t, t.Context())
	if !strings.Contains(out, "denied     ingress  UDP   192.0.2.7:999 -> shop/db-0:53\n") || !strings.Contains(errs, "7 flows were lost") {
		t.Errorf("denied: %q %q", out, errs)
	}
}

func TestFlowsFilter(t *testing.T) {
	c := &flowCluster{nodes: []string{"one", "two", "three"}}
	_, errs, code := c.flows(t, t.Context(), "-n", "shop", "--pod", "web-1,other/x", "--service", "db:pg", "--verdict", "denied,refused", "--node", "two")
	want := "two?namespace=shop&pod=shop%2Fweb-1&pod=other%2Fx&service=shop%2Fdb%3Apg&verdict=denied&verdict=refused"
	if len(c.queries) != 1 || c.queries[0] != want || code != 0 {
		t.Errorf("asked %q, want %s; %s, exit %d", c.queries, want, errs, code)
	}
	c = &flowCluster{nodes: []string{"one"}}
	if c.flows(t, t.Context(), "--service", "db"); len(c.queries) != 1 || c.queries[0] != "one?service=default%2Fdb" {
		t.Errorf("asked %q", c.queries)
	}
}

func TestFlowsThatCannotBeHad(t *testing.T) {
	for _, tt := range []struct {
		nodes []string
		args  []string
		code  int
		want  string
	}{
		{[]string{"user"}, nil, exitFailed, "records no flows"},
		{[]string{"user"}, []string{"-f"}, exitFailed, "records no flows"},
		{nil, nil, exitFailed, "no nodes"},
		{[]string{"one"}, []string{"--node", "two"}, exitFailed, "no node two"},
		{[]string{"one"}, []string{"--verdict", "lost"}, exitUsage, "forwarded, denied, refused"},
		{[]string{"one"}, []string{"--pod", "a/b/c"}, exitUsage, "namespace/name"},
		{[]string{"one"}, []string{"-o", "yaml"}, exitUsage, "text, json, wide"},
		{[]string{"one"}, []string{"--for", "0s"}, exitUsage, "--for"},
		{[]string{"one", "user"}, nil, exitOK, "records no flows"}, // the other one has
	} {
		c := &flowCluster{nodes: tt.nodes}
		if _, errs, code := c.flows(t, t.Context(), tt.args...); code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("%v %v: exit %d, %s", tt.nodes, tt.args, code, errs)
		}
	}
}

// TestFlowsFollow asks a node again that broke off, and ends when it is interrupted.
func TestFlowsFollow(t *testing.T) {
	c := &flowCluster{nodes: []string{"flaky"}}
	c.breaks.Store(1)
	ctx, cancel := context.WithTimeout(t.Context(), flowRetry+5*time.Second)
	defer cancel()
	out, errs, code := c.flows(t, ctx, "-f")
	if strings.Count(out, "shop/web-1") != 1 || !strings.Contains(errs, "it is asked again") || code == exitOK {
		t.Errorf("%q %q, exit %d", out, errs, code)
	}
}
