//go:build wasip1

// Command plain is the least that an HTTP guest can be: the benchmarks compare it with bench/baseline, whose handler is the
// same, natively.
package main

import (
	"net/http"

	"github.com/petrelrun/petrel/wasmrt/guest"
)

var answer = []byte("hello\n")

func init() {
	guest.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(answer)
	}))
}

func main() {}
