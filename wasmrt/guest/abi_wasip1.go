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

//go:wasmimport petrel_http_v1 response_send
func hostResponseSend(status int32, head unsafe.Pointer, headSize uint32, body unsafe.Pointer, bodySize uint32) int32

//go:wasmimport petrel_http_v1 response_write
func hostResponseWrite(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 response_flush
func hostResponseFlush() int32

//go:wasmimport petrel_http_v1 response_trailers
func hostResponseTrailers(buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_v1 response_abort
func hostResponseAbort(kind int32)

// start is where a slice's bytes are. The host does not keep it.
func start(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func size(b []byte) uint32 { return uint32(len(b)) }

// wasmHost is the host of a guest.
type wasmHost struct{}

func (wasmHost) requestHead(buf []byte) int32     { return hostRequestHead(start(buf), size(buf)) }
func (wasmHost) requestBodyRead(p []byte) int32   { return hostRequestBodyRead(start(p), size(p)) }
func (wasmHost) requestTrailers(buf []byte) int32 { return hostRequestTrailers(start(buf), size(buf)) }
func (wasmHost) requestCancelled() bool           { return hostRequestCancelled() != 0 }
func (wasmHost) responseHead(status int, block []byte) int32 {
	return hostResponseHead(int32(status), start(block), size(block))
}
func (wasmHost) responseSend(status int, block, p []byte) int32 {
	return hostResponseSend(int32(status), start(block), size(block), start(p), size(p))
}
func (wasmHost) responseWrite(p []byte) int32 { return hostResponseWrite(start(p), size(p)) }
func (wasmHost) responseFlush() int32         { return hostResponseFlush() }
func (wasmHost) responseTrailers(block []byte) int32 {
	return hostResponseTrailers(start(block), size(block))
}
func (wasmHost) responseAbort(kind int32) { hostResponseAbort(kind) }

// handle answers one request.
//
//go:wasmexport petrel_http_v1_handle
func handle() {
	serve(wasmHost{}, handler)
}

// warmup prepares the program for the snapshot that each request begins with.
//
//go:wasmexport petrel_http_v1_warmup
func warmup() {
	warmUp()
}
