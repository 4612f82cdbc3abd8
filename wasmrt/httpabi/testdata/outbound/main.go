// Outbound makes requests of its own, for the tests of outgoing requests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/guest"
	_ "github.com/petrelrun/petrel/wasmrt/guest/defaultclient"
)

func init() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /fetch", fetch)
	mux.HandleFunc("POST /relay", relay)
	mux.HandleFunc("GET /both", both)
	mux.HandleFunc("GET /timeout", timeout)
	mux.HandleFunc("GET /leak", leak)
	guest.Handle(mux)
}

func fetch(w http.ResponseWriter, r *http.Request) {
	resp, err := http.Get(r.FormValue("url"))
	if err != nil {
		http.Error(w, fmt.Sprintf("denied %v: %v", errors.Is(err, fs.ErrPermission), err), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("X-Far", resp.Header.Get("X-Far"))
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// relay streams its own body on, and the answer back.
func relay(w http.ResponseWriter, r *http.Request) {
	resp, err := (&http.Client{}).Post(r.FormValue("url"), "text/plain", io.NopCloser(r.Body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	fmt.Fprintf(w, " %d %v", n, err)
}

// both has two requests under way: the first is answered after the second has come.
func both(w http.ResponseWriter, r *http.Request) {
	var group sync.WaitGroup
	answers := make([]string, 2)
	for i := range answers {
		group.Go(func() {
			resp, err := http.Get(fmt.Sprintf("%s?n=%d", r.FormValue("url"), i))
			if err != nil {
				answers[i] = err.Error()
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answers[i] = string(body)
		})
	}
	group.Wait()
	_, _ = io.WriteString(w, strings.Join(answers, " "))
}

func timeout(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, r.FormValue("url"), nil)
	if err != nil {
		panic(err)
	}
	begun := time.Now()
	_, err = guest.Transport.RoundTrip(out)
	fmt.Fprintf(w, "%v in time %v", errors.Is(err, context.DeadlineExceeded), time.Since(begun) < 5*time.Second)
}

// leak leaves an exchange open.
func leak(w http.ResponseWriter, r *http.Request) {
	resp, err := http.Get(r.FormValue("url"))
	if err != nil {
		panic(err)
	}
	_, _ = io.CopyN(w, resp.Body, 3)
}

func main() {}
