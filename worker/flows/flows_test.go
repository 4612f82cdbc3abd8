package flows

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/ebpfproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func flow(kind ebpfproxy.FlowKind, source, destination, service string) ebpfproxy.Flow {
	return ebpfproxy.Flow{
		Time: time.Unix(1e9, 0).UTC(), Kind: kind, Direction: ebpfproxy.FlowEgress, Protocol: ebpfproxy.TCP,
		Source: netip.MustParseAddrPort("10.42.0.1:40000"), Destination: netip.MustParseAddrPort("10.42.0.2:8080"),
		SourcePod: source, DestinationPod: destination, Service: service,
	}
}

func TestFilter(t *testing.T) {
	connect := flow(ebpfproxy.FlowConnect, "a/web-1", "b/db-0", "b/db:pg")
	denied := flow(ebpfproxy.FlowDenied, "a/web-1", "", "")
	refused := flow(ebpfproxy.FlowRefused, "a/web-1", "", "c/gone")
	for query, want := range map[string]string{
		"":                                "connect denied refused",
		"verdict=forwarded":               "connect",
		"verdict=denied&verdict=refused":  "denied refused",
		"namespace=b":                     "connect",
		"namespace=a":                     "connect denied refused",
		"namespace=c":                     "refused",
		"namespace=web":                   "",
		"pod=b/db-0":                      "connect",
		"pod=b/db":                        "",
		"service=b/db":                    "connect",
		"service=b/db:pg":                 "connect",
		"service=b/db:other":              "",
		"service=b/d":                     "",
		"service=c/gone&service=b/db":     "connect refused",
		"service=b/db&namespace=c":        "",
		"pod=a/web-1&verdict=refused&x=y": "refused",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ParseFilter(q)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		var got []string
		for _, flow := range []ebpfproxy.Flow{connect, denied, refused} {
			if f.Fits(&flow) {
				got = append(got, string(flow.Kind))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
		again, err := ParseFilter(f.Query())
		if err != nil || again.Query().Encode() != f.Query().Encode() {
			t.Errorf("%s written is %s, %v", query, f.Query().Encode(), err)
		}
	}
	for _, bad := range []string{"verdict=x", "pod=web", "pod=a/b/c", "service=", "namespace=a/b", "namespace=" + strings.Repeat("a", maxName+1), strings.Repeat("pod=a/b&", maxNames+1)} {
		q, _ := url.ParseQuery(bad)
		if _, err := ParseFilter(q); err == nil {
			t.Errorf("%.40s is accepted", bad)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("pod=a/b&verdict=denied")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		filter, err := ParseFilter(q)
		if err != nil {
			return
		}
		flow := flow(ebpfproxy.FlowConnect, "a/b", "", "c/d:e")
		filter.Fits(&flow)
		if again, err := ParseFilter(filter.Query()); err != nil || again.Query().Encode() != filter.Query().Encode() {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// tap is a source that the test fills.
type tap chan ebpfproxy.Flow

func (s tap) Flows(ctx context.Context) iter.Seq[ebpfproxy.Flow] {
	return func(yield func(ebpfproxy.Flow) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case f := <-s:
				if !yield(f) {
					return
				}
			}
		}
	}
}

func get(t *testing.T, server *httptest.Server, query string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+Path+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestHandler(t *testing.T) {
	source := make(tap)
	var none bool
	server := httptest.NewServer(NewHandler(func() Source {
		if none {
			return nil
		}
		return source
	}))
	defer server.Close()
	resp := get(t, server, "?verdict=denied")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != MediaType {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	passed, denied := flow(ebpfproxy.FlowConnect, "a/b", "", ""), flow(ebpfproxy.FlowDenied, "a/c", "", "")
	passed.Lost, denied.Lost = 3, 4
	source <- passed
	source <- denied
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var got ebpfproxy.Flow
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if got.SourcePod != "a/c" || got.Lost != 7 || got.Source != denied.Source || got.Kind != ebpfproxy.FlowDenied {
		t.Errorf("got %+v", got)
	}
	_ = resp.Body.Close()

	if resp := get(t, server, "?verdict=x"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad filter: %s", resp.Status)
	}
	none = true
	if resp := get(t, server, ""); resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("without a source: %s", resp.Status)
	}
}

func TestListenersAreLimited(t *testing.T) {
	server := httptest.NewServer(NewHandler(func() Source { return make(tap) }))
	defer server.Close()
	var open []*http.Response
	for range maxClients {
		open = append(open, get(t, server, ""))
	}
	if resp := get(t, server, ""); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one more: %s", resp.Status)
	}
	_ = open[0].Body.Close()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		resp := get(t, server, "")
		open = append(open, resp)
		if resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of one who left is not given to another")
		}
	}
	for _, resp := range open {
		_ = resp.Body.Close()
	}
}
