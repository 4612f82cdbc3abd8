//go:build wasip1

// Command reactor is the benchmarks' trivial Go guest: a request is one call of an export that reads and writes memory
// that other requests' must not show in.
package main

import "strconv"

var (
	served int
	answer []byte
)

func main() {}

// handle is one request. What it leaves behind, a count and a buffer on the heap, is what a reset takes back.
//
//go:wasmexport petrel_http_v1_handle
func handle() {
	served++
	answer = append([]byte("hello, request "), strconv.Itoa(served)...)
}

// count tells how many requests the instance has served: always one when each has an instance of its own.
//
//go:wasmexport count
func count() int64 { return int64(served) }

// loop never returns.
//
//go:wasmexport loop
func loop() {
	for {
		served++
	}
}
