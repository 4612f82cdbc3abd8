package httpabi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

const httpbinDir = "../../examples/httpbin"

// startNative builds the example for this machine and serves it; the same handler, and no guest in between.
func startNative(t testing.TB) (url string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "httpbin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = httpbinDir
	build.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build httpbin: %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Env = []string{"LISTEN=127.0.0.1:0"}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line)
}

// ask is a request that both are asked.
type ask struct {
	method, path string
	header       map[string]string
	body         string
	stream       bool   // sent with an unknown length
	loose        string // a pattern whose matches differ from one answer to the next
}

var asks = []ask{
	{path: "/"}, {path: "/get?a=1&b=2&a=3"}, {path: "/html"}, {path: "/json"}, {path: "/xml"}, {path: "/robots.txt"},
	{path: "/encoding/utf8"}, {path: "/forms/post"}, {path: "/nowhere"}, {method: "POST", path: "/get"},
	{method: "HEAD", path: "/get"}, {method: "HEAD", path: "/head"}, {method: "OPTIONS", path: "/get"},
	{path: "/headers", header: map[string]string{"X-One": "1", "User-Agent": "petrel-test"}},
	{path: "/user-agent", header: map[string]string{"User-Agent": "petrel-test"}}, {path: "/ip"}, {path: "/hostname"},
	{method: "POST", path: "/post", body: "k=v&l=m", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
	{method: "POST", path: "/post", body: `{"a":[1,2]}`, header: map[string]string{"Content-Type": "application/json"}},
	{method: "POST", path: "/post", body: "raw \x00\xff", header: map[string]string{"Content-Type": "application/octet-stream"}},
	{method: "POST", path: "/post", body: "streamed", stream: true},
	{method: "POST", path: "/post", body: multipart(4), header: map[string]string{"Content-Type": "multipart/form-data; boundary=XX"}},
	{method: "POST", path: "/post", body: multipart(40 << 10), header: map[string]string{"Content-Type": "multipart/form-data; boundary=XX"}},
	{method: "PUT", path: "/put", body: strings.Repeat("long ", 20_000)}, {method: "PATCH", path: "/patch", body: "x"},
	{method: "DELETE", path: "/delete"}, {method: "REPORT", path: "/anything/x/y?z", body: "b"},
	{path: "/status/200"}, {path: "/status/204"}, {path: "/status/301"}, {path: "/status/304"}, {path: "/status/401"},
	{path: "/status/418"}, {path: "/status/500"}, {path: "/status/599"}, {path: "/status/abc"},
	{path: "/redirect/3"}, {path: "/relative-redirect/2"}, {path: "/absolute-redirect/2"},
	{path: "/redirect-to?url=/get&status_code=307"}, {path: "/response-headers?X-A=1&X-A=2&Etag=z"},
	{path: "/gzip", header: map[string]string{"Accept-Encoding": "gzip"}}, {path: "/deflate", header: map[string]string{"Accept-Encoding": "deflate"}},
	{path: "/cookies", header: map[string]string{"Cookie": "a=b; c=d"}}, {path: "/cookies/set?k=v"}, {path: "/cookies/delete?k", loose: `Max-Age=\d+|Expires=[^;]+`},
	{path: "/basic-auth/u/p"}, {path: "/basic-auth/u/p", header: map[string]string{"Authorization": "Basic dTpw"}},
	{path: "/hidden-basic-auth/u/p"}, {path: "/bearer"}, {path: "/bearer", header: map[string]string{"Authorization": "Bearer tok"}},
	{path: "/digest-auth/auth/u/p", loose: `(nonce|opaque)=[0-9a-f]+`},
	{path: "/base64/cGV0cmVs"}, {path: "/base64/encode/petrel"}, {path: "/base64/decode/!!!"},
	{path: "/bytes/1000?seed=7"}, {path: "/stream-bytes/5000?seed=7&chunk_size=700"}, {path: "/bytes/0"},
	{path: "/range/100"}, {path: "/range/100", header: map[string]string{"Range": "bytes=10-19"}}, {path: "/range/100", header: map[string]string{"Range": "bytes=200-300"}},
	{path: "/stream/3"}, {path: "/drip?numbytes=5&duration=100ms&delay=20ms"}, {path: "/drip?code=500&numbytes=2&duration=10ms&delay=0s"},
	{path: "/sse?count=3&duration=60ms", loose: `"timestamp":\d+|total_duration;dur=[0-9.]+`}, {path: "/delay/0.2"}, {path: "/delay/11"}, {path: "/delay/-1"},
	{path: "/trailers?X-T=1&X-U=2"}, {path: "/cache", loose: `(?m)^Etag: .*$`}, {path: "/cache", header: map[string]string{"If-None-Match": "x"}}, {path: "/cache/60"},
	{path: "/etag/abc"}, {path: "/etag/abc", header: map[string]string{"If-None-Match": `"abc"`}}, {path: "/links/3/1"}, {path: "/links/3"},
	{path: "/deny"}, {path: "/env"}, {path: "/image"}, {path: "/image/png"}, {path: "/image/svg"}, {path: "/image/jpeg"}, {path: "/image/webp"},
	{path: "/unstable?failure_rate=1"}, {path: "/unstable?failure_rate=0"}, {path: "/uuid", loose: `[0-9a-f]{8}-[0-9a-f-]{27}`},
	{path: "/dump/request", header: map[string]string{"X-One": "1"}}, {method: "POST", path: "/dump/request", body: "chunk", stream: true},
	{path: "/problem"}, {path: "/..;/get"}, {path: "//get"}, {path: "/get/../json"}, {path: "/anything/%2e%2e/%E2%82%AC"},
}

// multipart is a form with a file of so many bytes: more than a kilobyte is put into a temporary one.
func multipart(size int) string {
	return "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("f", size) +
		"\r\n--XX\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\nv\r\n--XX--\r\n"
}

var date = regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (GMT|UTC)`)

var address = regexp.MustCompile(`127\.0\.0\.1(:\d+)?`)

// answer is everything of a response that a client can see, as text.
func answer(t *testing.T, client *http.Client, url string, a ask) string {
	t.Helper()
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
		if a.stream {
			body = io.MultiReader(body)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), a.method, url+a.path, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range a.header {
		r.Header.Set(k, v)
	}
	resp, err := client.Do(r)
	if err != nil {
		return "error: " + address.ReplaceAllString(err.Error(), "ADDR")
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(decompressed(t, resp))
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s, length %d, encoding %v, body error %v\n", resp.Proto, resp.Status, resp.ContentLength, resp.TransferEncoding, err)
	resp.Header.Del("Date")
	for _, h := range []http.Header{resp.Header, resp.Trailer} {
		for _, k := range slices.Sorted(maps.Keys(h)) {
			fmt.Fprintf(&out, "%s: %q\n", k, h[k])
		}
	}
	out.Write(got)
	text := date.ReplaceAllString(address.ReplaceAllString(out.String(), "ADDR"), "DATE")
	if a.loose != "" {
		text = regexp.MustCompile(a.loose).ReplaceAllString(text, "LOOSE")
	}
	return text
}

// decompressed opens a compressed body: what is in it has this test's port, and so has no fixed length.
func decompressed(t *testing.T, resp *http.Response) io.Reader {
	t.Helper()
	var r io.Reader
	var err error
	switch resp.Header.Get("Content-Encoding") {
	case "gzip":
		r, err = gzip.NewReader(resp.Body)
	case "deflate":
		r, err = zlib.NewReader(resp.Body)
	default:
		return resp.Body
	}
	if err != nil {
		t.Fatal(err)
	}
	resp.ContentLength = 0
	resp.Header.Del("Content-Length")
	return r
}

// go-httpbin as a guest answers as it does natively: status, headers, trailers, framing and body.
func TestHTTPBinAnswersAsNatively(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles httpbin")
	}
	native := startNative(t)
	s := serve(t, moduletest.BuildGo(t, httpbinDir, true), Config{})
	client := s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Transport.(*http.Transport).DisableCompression = true
	client.Timeout = 20 * time.Second
	for _, a := range asks {
		want := answer(t, client, native, a)
		if got := answer(t, client, s.URL, a); got != want {
			t.Errorf("%s %s\n--- guest\n%.1500s\n--- native\n%.1500s", a.method, a.path, got, want)
		}
	}
	if s.log.String() != "" {
		t.Errorf("the guest wrote: %s", s.log)
	}
	testNoGrowth(t, s)
}

// slow are asks that take their time on purpose.
var slow = regexp.MustCompile("^/(drip|sse|delay)")

// testNoGrowth asks thousands of times more. An instance whose memory grew in a request cannot be reset and is thrown
// away: the warm-up is to see to it that this hardly happens.
func testNoGrowth(t *testing.T, s *server) {
	const rounds = 25
	before := s.handler.Stats().Pool
	requests := 0
	for range rounds {
		for _, a := range asks {
			if slow.MatchString(a.path) {
				continue
			}
			r := httptest.NewRequest(orDefault(a.method, http.MethodGet), a.path, strings.NewReader(a.body))
			for k, v := range a.header {
				r.Header.Set(k, v)
			}
			s.handler.ServeHTTP(httptest.NewRecorder(), r)
			requests++
		}
	}
	after := s.handler.Stats().Pool
	discards := uint64(0)
	for _, n := range after.Discards {
		discards += n
	}
	t.Logf("%d requests, %d resets, discards %v, clones %d", requests, after.Resets-before.Resets, after.Discards, after.Clones)
	if discards > uint64(requests/100) || after.NoSnapshot != "" {
		t.Errorf("of %d requests' instances %d were thrown away: %v %s", requests, discards, after.Discards, after.NoSnapshot)
	}
}
