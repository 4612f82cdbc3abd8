package guest

import "unsafe"

// The host's functions. Buffers are a pointer and a length; results are counts, or negative numbers of package wire.

//go:wasmimport petrel_http_v1 request_head
func hostRequestHead(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 request_body_read
func hostRequestBodyRead(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 request_trailers
func hostRequestTrailers(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 request_cancelled
func hostRequestCancelled() int32

//go:wasmimport petrel_http_v1 response_head
func hostResponseHead(status int32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 response_write
func hostResponseWrite(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 response_flush
func hostResponseFlush() int32

//go:wasmimport petrel_http_v1 response_trailers
func hostResponseTrailers(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 response_abort
func hostResponseAbort(kind int32)

// onBytes hands a slice to the host, which does not keep it.
func onBytes(b []byte, call func(unsafe.Pointer, uint32) int32) int32 {
	return call(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
}

// fetch asks the host for a block whose length only the host knows.
func fetch(call func(unsafe.Pointer, uint32) int32) ([]byte, int32) {
	buf := make([]byte, 4096)
	for {
		n := onBytes(buf, call)
		if n < 0 {
			return nil, n
		}
		if int(n) <= len(buf) {
			return buf[:n], 0
		}
		buf = make([]byte, n)
	}
}

// wasmHost is the host of a guest.
type wasmHost struct{}

func (wasmHost) requestHead() ([]byte, int32)     { return fetch(hostRequestHead) }
func (wasmHost) requestBodyRead(p []byte) int32   { return onBytes(p, hostRequestBodyRead) }
func (wasmHost) requestTrailers() ([]byte, int32) { return fetch(hostRequestTrailers) }
func (wasmHost) requestCancelled() bool           { return hostRequestCancelled() != 0 }
func (wasmHost) responseHead(status int, block []byte) int32 {
	return hostResponseHead(int32(status), unsafe.Pointer(unsafe.SliceData(block)), uint32(len(block)))
}
func (wasmHost) responseWrite(p []byte) int32        { return onBytes(p, hostResponseWrite) }
func (wasmHost) responseFlush() int32                { return hostResponseFlush() }
func (wasmHost) responseTrailers(block []byte) int32 { return onBytes(block, hostResponseTrailers) }
func (wasmHost) responseAbort(kind int32)            { hostResponseAbort(kind) }

// handle answers one request.
//
//go:wasmexport petrel_http_v1_handle
func handle() {
	serve(wasmHost{}, handler)
}
