// Hello is the smallest HTTP guest: an ordinary net/http handler, built as a WebAssembly reactor.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/petrelrun/petrel/wasmrt/guest"
)

func init() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "Hello from Petrel%s\n", greeting())
	})
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s\n", r.PathValue("name"))
	})
	guest.Handle(mux)
}

// greeting shows how configuration reaches a guest: as its environment.
func greeting() string {
	if g := os.Getenv("GREETING"); g != "" {
		return ": " + g
	}
	return ""
}

func main() {}
