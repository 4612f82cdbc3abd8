package streaming

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

func TestForwardByEveryProtocol(t *testing.T) {
	for way, dialer := range map[string]func(*url.URL, *rest.Config) (httpstream.Dialer, error){
		"WebSocket": portforward.NewSPDYOverWebsocketDialer,
		"SPDY": func(at *url.URL, config *rest.Config) (httpstream.Dialer, error) {
			transport, upgrader, err := spdy.RoundTripperFor(config)
			return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at), err
		},
	} {
		t.Run(way, func(t *testing.T) {
			n := newNode(t)
			d, err := dialer(must(url.Parse(n.url+"/forward")), &rest.Config{Host: n.url})
			if err != nil {
				t.Fatal(err)
			}
			conn, protocol, err := d.Dial(portforward.PortForwardProtocolV1Name)
			if err != nil || protocol != portforward.PortForwardProtocolV1Name {
				t.Fatalf("%q, %v", protocol, err)
			}
			large := strings.Repeat("x", 1<<20)
			if got, failure := n.converse(conn, 1, 80, large); got != "port 80 "+large || failure != "" {
				t.Errorf("port 80: %d bytes, %q", len(got), failure)
			}
			n.awaitEnd("forward")
			if got, failure := n.converse(conn, 2, 81, ""); got != "" || !strings.Contains(failure, "nothing listens on port 81") {
				t.Errorf("port 81: %q, %q", got, failure)
			}
			n.awaitEnd("forward")
			_ = conn.Close()
			n.within("the session to end", n.relay.Wait)
		})
	}
}

// converse sends something to a port and answers what comes back, and the failure that was told.
func (n *node) converse(conn httpstream.Connection, id, port int, text string) (string, string) {
	n.Helper()
	headers := http.Header{}
	headers.Set(corev1.PortHeader, fmt.Sprint(port))
	headers.Set(corev1.PortForwardRequestIDHeader, fmt.Sprint(id))
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := conn.CreateStream(headers)
	if err != nil {
		n.Fatal(err)
	}
	_ = failures.Close()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		n.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(data, text)
		_ = data.Close()
	}()
	var got, failure []byte
	n.within("the answer", func() {
		got, _ = io.ReadAll(data)
		failure, _ = io.ReadAll(failures)
	})
	return string(got), string(failure)
}

func TestForwardThatIsRefused(t *testing.T) {
	n := newNode(t)
	n.stream = gone{n.stream}
	d, err := portforward.NewSPDYOverWebsocketDialer(must(url.Parse(n.url+"/forward")), &rest.Config{Host: n.url})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Dial(portforward.PortForwardProtocolV1Name); err == nil {
		t.Error("a tunnel to nowhere was opened")
	}
}

func TestParsePorts(t *testing.T) {
	for _, tt := range []struct {
		protocol, query string
		want            []int32
		wrong           bool
	}{
		{"", "", nil, false},
		{"SPDY/3.1+portforward.k8s.io", "", nil, false},
		{"v4.channel.k8s.io", "port=80&port=443,8080", []int32{80, 443, 8080}, false},
		{"v4.channel.k8s.io", "", nil, true},
		{"v4.channel.k8s.io", "port=0", nil, true},
		{"v4.channel.k8s.io", "port=65536", nil, true},
		{"v4.channel.k8s.io", "port=-1", nil, true},
		{"v4.channel.k8s.io", "port=http", nil, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/x?"+tt.query, nil)
		if tt.protocol != "" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Sec-Websocket-Protocol", tt.protocol)
		}
		if got, err := ParsePorts(r); !slices.Equal(got, tt.want) || (err != nil) != tt.wrong {
			t.Errorf("%s %s: %v, %v", tt.protocol, tt.query, got, err)
		}
	}
}

func TestParseOptions(t *testing.T) {
	for _, o := range []Options{{Stdin: true}, {Stdout: true, Stderr: true}, {Stdin: true, Stdout: true, TTY: true}} {
		if got, err := ParseOptions(o.Query()); err != nil || got != o {
			t.Errorf("%+v came back as %+v, %v", o, got, err)
		}
	}
	if got, err := ParseOptions(Options{Stdout: true, Stderr: true, TTY: true}.Query()); err != nil || got.Stderr {
		t.Errorf("a terminal has a stderr of its own: %+v, %v", got, err)
	}
	if _, err := ParseOptions(Options{TTY: true}.Query()); err == nil {
		t.Error("a command without any stream")
	}
	if _, err := ParseCommand(url.Values{ParamCommand: slices.Repeat([]string{"x"}, maxCommand+1)}); err == nil {
		t.Error("a command of too many words")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("input=1&output=1&tty=1&command=sh&command=-c", "v4.channel.k8s.io")
	f.Add("port=80,443&port=1", "v4.channel.k8s.io")
	f.Add("port=65536", "SPDY/3.1+portforward.k8s.io")
	f.Fuzz(func(t *testing.T, query, protocol string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {protocol},
		}}
		q := r.URL.Query()
		if o, err := ParseOptions(q); err == nil && (!o.Stdin && !o.Stdout && !o.Stderr || o.TTY && o.Stderr) {
			t.Errorf("%q gives %+v", query, o)
		}
		if words, err := ParseCommand(q); err == nil && (len(words) == 0 || words[0] == "" || len(words) > maxCommand) {
			t.Errorf("%q gives %d words", query, len(words))
		}
		ports, err := ParsePorts(r)
		for _, p := range ports {
			if err != nil || p < 1 || p > 65535 {
				t.Errorf("%q gives port %d, %v", query, p, err)
			}
		}
	})
}
