//go:build wasip1

// Command goplain is the least that an HTTP guest in Go can be: it answers as the guest plain does, and as bench/baseline, by the
// host's functions and without net/http. What lies between both guests is Go's own net/http as WebAssembly.
package main

import "unsafe"

//go:wasmimport petrel_http_v1 response_send
func responseSend(status int32, head unsafe.Pointer, headSize uint32, body unsafe.Pointer, bodySize uint32) int32

// One field: the number of fields, then the name, the number of values and the value, each text with its length in front.
var (
	head = []byte("\x01\x0cContent-Type\x01\x19text/plain; charset=utf-8")
	body = []byte("hello\n")
)

//go:wasmexport petrel_http_v1_handle
func handle() {
	responseSend(200, unsafe.Pointer(&head[0]), uint32(len(head)), unsafe.Pointer(&body[0]), uint32(len(body)))
}

func main() {}
