package http1

import (
	"bufio"
	"io"
	"net/http"
	"testing"
)

// BenchmarkPlain compares a plain request with net/http's, from one connection.
func BenchmarkPlain(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "hello\n")
	})
	for _, side := range []struct {
		name string
		served
	}{{"front", startFront(b, h, nil)}, {"nethttp", startStandard(b, h)}} {
		b.Run(side.name, func(b *testing.B) {
			b.ReportAllocs()
			c := dial(b, side.addr)
			r := bufio.NewReader(c)
			for range b.N {
				if _, err := io.WriteString(c, get); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Peek(1); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Discard(r.Buffered()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
