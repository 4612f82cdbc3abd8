package guest

import (
	"net/http"
	"unsafe"
)

//go:wasmimport petrel_http_client_v1 request_open
func hostClientOpen(head unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 request_write
func hostClientWrite(handle int32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 request_end
func hostClientEnd(handle int32, trailers unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 response_head
func hostClientHead(handle int32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 response_read
func hostClientRead(handle int32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 response_trailers
func hostClientTrailers(handle int32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 error_text
func hostClientError(handle int32, buf unsafe.Pointer, size uint32) int32

//go:wasmimport petrel_http_client_v1 close
func hostClientClose(handle int32) int32

//go:wasmimport petrel_http_client_v1 wait
func hostClientWait(millis uint32) int32

// clientImports is the host of a guest.
type clientImports struct{}

// with hands a slice to a call about a handle.
func with(handle int32, b []byte, call func(int32, unsafe.Pointer, uint32) int32) int32 {
	return call(handle, unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
}

// block asks for something whose length only the host knows.
func block(handle int32, call func(int32, unsafe.Pointer, uint32) int32) ([]byte, int32) {
	buf := make([]byte, 1024)
	for {
		n := with(handle, buf, call)
		if n < 0 {
			return nil, n
		}
		if int(n) <= len(buf) {
			return buf[:n], n
		}
		buf = make([]byte, n)
	}
}

func (clientImports) open(head []byte) int32 {
	return hostClientOpen(unsafe.Pointer(unsafe.SliceData(head)), uint32(len(head)))
}
func (clientImports) write(handle int32, p []byte) int32 { return with(handle, p, hostClientWrite) }
func (clientImports) end(handle int32, b []byte) int32   { return with(handle, b, hostClientEnd) }
func (clientImports) head(handle int32) ([]byte, int32)  { return block(handle, hostClientHead) }
func (clientImports) read(handle int32, p []byte) int32  { return with(handle, p, hostClientRead) }
func (clientImports) trailers(handle int32) ([]byte, int32) {
	return block(handle, hostClientTrailers)
}
func (clientImports) close(handle int32)       { hostClientClose(handle) }
func (clientImports) wait(millis uint32) int32 { return hostClientWait(millis) }

func (clientImports) errorText(handle int32) string {
	text, _ := block(handle, hostClientError)
	return string(text)
}

// Transport makes outgoing HTTP requests, as far as the pod is granted. To have it under http.DefaultTransport, and so
// under http.Get and every client without a Transport, import package defaultclient: the SDK itself leaves that variable
// alone, because a guest that makes no requests would carry 3 MB of client for it.
var Transport http.RoundTripper = &roundTripper{clientImports{}}
