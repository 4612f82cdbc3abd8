//go:build wasip1

// Command probe is the tests' HTTP guest: each path makes it do one thing that a test wants to watch. A request is
// served by an instance of its own, so nothing is kept between requests; what must change over time is told by the
// clock.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/guest"
	"github.com/petrelrun/petrel/wasmrt/guest/network"
)

func init() { guest.Handle(routes()) }

func main() {}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", hello)
	mux.HandleFunc("GET /env", environment)
	mux.HandleFunc("GET /args", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, os.Args) })
	mux.HandleFunc("POST /echo", echo)
	mux.HandleFunc("GET /status", status)
	mux.HandleFunc("GET /log", logLine)
	mux.HandleFunc("GET /sleep", sleep)
	mux.HandleFunc("GET /after", after)
	mux.HandleFunc("GET /until", until)
	mux.HandleFunc("GET /loop", loop)
	mux.HandleFunc("GET /allocate", allocate)
	mux.HandleFunc("GET /page", page)
	mux.HandleFunc("GET /lookup", lookup)
	mux.HandleFunc("GET /file", readFile)
	mux.HandleFunc("PUT /file", writeFile)
	mux.HandleFunc("GET /dial", dial)
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("asked to") })
	return mux
}

// hello names the release and the pod, so that a client sees who answered.
func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Pod", os.Getenv("POD_NAME"))
	fmt.Fprintf(w, "probe %s %s\n", os.Getenv("RELEASE"), os.Getenv("POD_NAME"))
}

func environment(w http.ResponseWriter, _ *http.Request) {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	writeJSON(w, env)
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	w.Header().Set("X-Method", r.Method)
	_, _ = io.Copy(w, r.Body)
}

func status(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(int(number(r, "code")))
}

func logLine(w http.ResponseWriter, r *http.Request) {
	line := r.URL.Query().Get("line")
	fmt.Println("out", line)
	fmt.Fprintln(os.Stderr, "err", line)
	w.WriteHeader(http.StatusNoContent)
}

func sleep(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
	fmt.Fprintln(w, "slept")
}

// after is well from the given Unix second on: a readiness probe that turns good.
func after(w http.ResponseWriter, r *http.Request) {
	if time.Now().Unix() < number(r, "t") {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// until is well up to the given Unix second: a liveness probe that turns bad.
func until(w http.ResponseWriter, r *http.Request) {
	if time.Now().Unix() >= number(r, "t") {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

var sink uint64

func loop(http.ResponseWriter, *http.Request) {
	for {
		sink++
	}
}

func allocate(w http.ResponseWriter, r *http.Request) {
	block := make([]byte, number(r, "mib")<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = byte(i)
	}
	fmt.Fprintln(w, len(block))
}

// page is what a hostile site would serve: a script that sends a write to another address without asking first.
func page(w http.ResponseWriter, r *http.Request) {
	target, body := r.URL.Query().Get("target"), r.URL.Query().Get("body")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>probe</title><p id="ran">no</p><script>
fetch(%q, {method: "POST", mode: "no-cors", body: %q}).finally(() => document.getElementById("ran").textContent = "script ran")
</script>`, target, body)
}

// lookup resolves a name, as far as the pod is granted dns.
func lookup(w http.ResponseWriter, r *http.Request) {
	addresses, err := network.LookupHost(r.Context(), r.URL.Query().Get("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, addresses)
}

// dial connects to an address, as far as the pod is granted it, asks for / and answers what comes back.
func dial(w http.ResponseWriter, r *http.Request) {
	conn, err := network.Dial("tcp", r.URL.Query().Get("address"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	_, _ = io.Copy(w, conn)
}

func number(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return n
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// readFile answers a file's content.
func readFile(w http.ResponseWriter, r *http.Request) {
	content, err := os.ReadFile(r.FormValue("path"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(content)
}

// writeFile makes the request's body a file.
func writeFile(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(r.URL.Query().Get("path"), content, 0o644)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
