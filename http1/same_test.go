package http1

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

var noLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)

// everything is a handler with an answer of each kind.
func everything() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(describe(r)) })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.Header().Set("X-A", "b")
		w.Header().Set("Content-Type", "text/x-a")
		w.Header().Set("Content-Length", "3")
		w.WriteHeader(code)
		n, err := w.Write([]byte("abc"))
		if err == nil && n != 3 {
			panic("short")
		}
	})
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		for ; n > 0; n -= 1000 {
			_, _ = io.WriteString(w, strings.Repeat("x", min(n, 1000)))
		}
	})
	mux.HandleFunc("/once/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		_, _ = w.Write(make([]byte, n))
	})
	mux.HandleFunc("/flush", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>one ")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "two ")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "three")
	})
	mux.HandleFunc("/flushfirst", func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "text")
	})
	mux.HandleFunc("/length/{n}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", r.PathValue("n"))
		_, err := io.WriteString(w, "12345")
		w.Header().Set("X-Late", "no")
		_ = err
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		if _, err := io.WriteString(w, "12345"); err != http.ErrContentLength { //nolint:errorlint // the very one
			panic(err)
		}
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-Never")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "10")
		w.Header().Set(http.TrailerPrefix+"X-More", "20")
	})
	mux.HandleFunc("/unannounced", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "body")
		w.Header().Set(http.TrailerPrefix+"X-More", "20")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "yes")
		_, _ = io.WriteString(w, "done")
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/abortlate", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("y", 10_000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/types", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "html":
			_, _ = io.WriteString(w, "<html><body>")
		case "encoded":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte{0x1f, 0x8b, 8})
		case "none":
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "plain")
		}
	})
	mux.HandleFunc("/evil", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Evil", "a\r\nSet-Cookie: b")
		w.Header()["Bad Name"] = []string{"c"}
		w.Header()["X-Two"] = []string{"1", "2"}
		w.Header().Set("Transfer-Encoding", "chunked")
		_, _ = io.WriteString(w, "ok")
	})
	mux.HandleFunc("/date", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil })
	mux.HandleFunc("/unread", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no body read") })
	return mux
}

// The same bytes get the same answers as from net/http, whichever of both servers they reach in the end.
func TestSameAnswers(t *testing.T) {
	h := everything()
	ours, standard := startFront(t, h, nil), startStandard(t, h)
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a.test\r\n\r\n" }
	tests := []struct {
		name, request string
		responses     int
		methods       []string
	}{
		{"plain", get("/a?b=c"), 1, nil},
		{"fields", "GET /x HTTP/1.1\r\nhost: a:80\r\nX-a:  1 \r\nx-A:2\r\nAccept:\t*/*\r\nEmpty:\r\nCookie: a=b\r\nCookie: c=d\r\nConnection: keep-alive\r\nX-Utf: \xc3\xa4\r\n\r\n", 1, nil},
		{"escapes", get("/a%20b/%2f?q=%zz&r=1+2"), 1, nil},
		{"odd path", get("/a;b:c@d,e!$&'()*+=[]|{}^`\"<>\\?x?y"), 1, nil},
		{"bad escape", get("/%zz"), 1, nil},
		{"dots", get("/a/../b"), 1, nil},
		{"two slashes", get("//a/b"), 1, nil},
		{"whole URL", get("http://other/path"), 1, nil},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1, nil},
		{"connect", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 1, nil},
		{"head", "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", 1, []string{"HEAD"}},
		{"head of much", "HEAD /bytes/10000 HTTP/1.1\r\nHost: a\r\n\r\n" + get("/after"), 2, []string{"HEAD"}},
		{"head flushed", "HEAD /flush HTTP/1.1\r\nHost: a\r\n\r\n" + get("/after"), 2, []string{"HEAD"}},
		{"head with length", "HEAD /length/5 HTTP/1.1\r\nHost: a\r\n\r\n" + get("/after"), 2, []string{"HEAD"}},
		{"post", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1, nil},
		{"post of none", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1, nil},
		{"get with a body", "GET /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + get("/next"), 2, nil},
		{"unread body", "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + get("/next"), 2, nil},
		{"post of much", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("z", 9000) + get("/next"), 2, nil},
		{"chunked", "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + get("/next"), 2, nil},
		{"both lengths", "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1, nil},
		{"length twice", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 1, nil},
		{"same length twice", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 1, nil},
		{"bad length", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 1, nil},
		{"expect", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", 1, nil},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 1, nil},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 1, nil},
		{"odd host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 1, nil},
		{"old version", "GET /x HTTP/1.0\r\n\r\n", 1, nil},
		{"other version", "GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 1, nil},
		{"http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1, nil},
		{"line feeds", "GET /x HTTP/1.1\nHost: a\n\n", 1, nil},
		{"mixed line ends", "GET /x HTTP/1.1\r\nHost: a\n\r\n", 1, nil},
		{"folded", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", 1, nil},
		{"space before colon", "GET /x HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", 1, nil},
		{"control character", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\x01c\r\n\r\n", 1, nil},
		{"lone return", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n", 1, nil},
		{"no colon", "GET /x HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 1, nil},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 1, nil},
		{"other method", "BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", 1, nil},
		{"close", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1, nil},
		{"pragma", "GET /x HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\n\r\n", 1, nil},
		{"large head", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("h", 8000) + "\r\n\r\n" + get("/next"), 2, nil},
		{"too large head", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("h", 80_000) + "\r\n\r\n", 1, nil},
		{"pipeline", get("/1") + get("/2") + "POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" + get("/4"), 4, nil},
		{"pipeline that turns", get("/1") + "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + get("/3"), 3, nil},
		{"empty", get("/empty") + get("/empty"), 2, nil},
		{"204", get("/status/204") + get("/next"), 2, nil},
		{"304", get("/status/304") + get("/next"), 2, nil},
		{"404", get("/status/404") + get("/next"), 2, nil},
		{"599", get("/status/599") + get("/next"), 2, nil},
		{"small", get("/bytes/100") + get("/bytes/1999"), 2, nil},
		{"large", get("/bytes/100000") + get("/next"), 2, nil},
		{"large at once", get("/once/300000") + get("/next"), 2, nil},
		{"flush", get("/flush") + get("/next"), 2, nil},
		{"flush first", get("/flushfirst") + get("/next"), 2, nil},
		{"length", get("/length/5") + get("/next"), 2, nil},
		{"short", get("/length/9"), 1, nil},
		{"long", get("/long") + get("/next"), 2, nil},
		{"bad length set", get("/length/x") + get("/next"), 2, nil},
		{"trailers", get("/trailers") + get("/next"), 2, nil},
		{"unannounced trailers", get("/unannounced") + get("/next"), 2, nil},
		{"hints", get("/hints"), 2, nil},
		{"close by handler", get("/close"), 1, nil},
		{"abort", get("/abort"), 1, nil},
		{"abort late", get("/abortlate"), 1, nil},
		{"html", get("/types?html"), 1, nil},
		{"encoded", get("/types?encoded"), 1, nil},
		{"no type", get("/types?none"), 1, nil},
		{"evil", get("/evil") + get("/next"), 2, nil},
		{"no date", get("/date") + get("/next"), 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, ours.addr, tt.request, tt.responses, tt.methods...)
			want := converse(t, standard.addr, tt.request, tt.responses, tt.methods...)
			if got != want {
				t.Errorf("got\n%s\nnet/http gives\n%s", got, want)
			}
		})
	}
}

// The same requests, a byte at a time.
func TestSlowBytes(t *testing.T) {
	s := startFront(t, everything(), nil)
	c := dial(t, s.addr)
	go func() {
		for _, b := range []byte("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok") {
			_, _ = c.Write([]byte{b})
			time.Sleep(200 * time.Microsecond)
		}
	}()
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 200 OK\r\n") {
		t.Errorf("%q %v", b[:n], err)
	}
}
