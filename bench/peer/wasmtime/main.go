// Command wasmtime is a peer of the benchmarks: it serves an HTTP guest of Petrel's with wasmtime, by the embedding that
// its makers publish for Go, and gives every request a fresh instance, as Petrel isolates requests. It prints the address
// that it listens on, then serves until its standard input ends.
//
// It is a module of its own: wasmtime needs cgo and a library of a hundred MiB, which Petrel has no use for.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	module := flag.String("module", "", "the guest, a reactor of the petrel_http_v1 ABI")
	flag.Parse()
	if err := run(*module); err != nil {
		fmt.Fprintln(os.Stderr, "wasmtime peer:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	p, err := load(path)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	server := &http.Server{Handler: p}
	go func() { _ = server.Serve(l) }() // ends with the process
	fmt.Println(l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
