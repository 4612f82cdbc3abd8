//go:build wasip1

// Command hostile is the tests' guest that means harm: each path does one thing that a runtime has to stop, or hunts for
// what another request has left behind.
package main

import (
	"fmt"
	"math/rand"
	"net/http"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/petrelrun/petrel/wasmrt/guest"
)

func init() { guest.Handle(routes()) }

func main() {}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "at your service") })
	mux.HandleFunc("GET /spin", func(http.ResponseWriter, *http.Request) { spinForever() })
	mux.HandleFunc("GET /hostcalls", func(http.ResponseWriter, *http.Request) { callForever() })
	mux.HandleFunc("GET /bulk", func(http.ResponseWriter, *http.Request) { copyForever() })
	mux.HandleFunc("GET /recurse", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, recurseForever(1)) })
	mux.HandleFunc("GET /grow", func(http.ResponseWriter, *http.Request) { growForever() })
	mux.HandleFunc("GET /sleep", sleep)
	mux.HandleFunc("GET /count", count)
	mux.HandleFunc("GET /random", random)
	mux.HandleFunc("GET /plant", plant)
	mux.HandleFunc("GET /hunt", hunt)
	return mux
}

var sink uint64

// Functions that are to be named when they are stopped must not be inlined.
//
//go:noinline
func spinForever() {
	for {
		sink++
	}
}

// callForever does nothing itself: its time is spent in the host.
func callForever() {
	for {
		sink += uint64(time.Now().Nanosecond())
	}
}

// copyForever executes few instructions, each of which works on megabytes.
func copyForever() {
	from, to := make([]byte, 16<<20), make([]byte, 16<<20)
	for {
		copy(to, from)
		from, to = to, from
	}
}

//go:noinline
func recurseForever(n uint64) uint64 {
	return n + recurseForever(n+1)*sink
}

var kept [][]byte

func growForever() {
	for {
		block := make([]byte, 1<<20)
		block[0] = 1
		kept = append(kept, block)
	}
}

func sleep(w http.ResponseWriter, r *http.Request) {
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	time.Sleep(time.Duration(ms) * time.Millisecond)
	fmt.Fprintln(w, "slept")
}

var requests int

// count tells how many requests the instance has served.
func count(w http.ResponseWriter, _ *http.Request) {
	requests++
	fmt.Fprintln(w, requests)
}

// random tells numbers of a generator whose state is memory.
func random(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, rand.Uint64(), rand.Uint64()) }

// pattern is what plant leaves and hunt looks for, with every bit turned: so neither the program's own data nor the
// hunter's variables have it.
var pattern = [...]byte{^byte('s'), ^byte('3'), ^byte('c'), ^byte('r'), ^byte('3'), ^byte('t'), ^byte('~'), ^byte('#')}

// plant fills memory with a secret, on the heap, in variables, and where nothing refers to it any more.
func plant(w http.ResponseWriter, _ *http.Request) {
	for range 64 {
		block := make([]byte, 1024)
		for i := range block {
			block[i] = ^pattern[i%len(pattern)]
		}
		kept = append(kept, block)
	}
	kept = kept[:1]
	fmt.Fprintln(w, "planted")
}

// hunt reads the whole memory, from its first byte to what the runtime has of the host, and tells how often the secret is
// there.
func hunt(w http.ResponseWriter, _ *http.Request) {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	found := 0
	for at := uintptr(1); at < uintptr(stats.Sys)-uintptr(len(pattern)); at++ {
		if matches(at) {
			found++
		}
	}
	fmt.Fprintf(w, "found %d in %d bytes\n", found, stats.Sys)
}

func matches(at uintptr) bool {
	for i, turned := range pattern {
		// The linear memory begins at address 0, and any address in it may be read.
		if *(*byte)(unsafe.Add(unsafe.Pointer(nil), at+uintptr(i))) != ^turned {
			return false
		}
	}
	return true
}
