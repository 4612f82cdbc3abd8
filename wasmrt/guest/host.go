package guest

// host is the ABI as this package uses it: the imports in a guest, a double in its tests and in the warm-up.
type host interface {
	// requestHead fills buf and returns the length of the head; when that is more than buf has, buf is as it was.
	requestHead(buf []byte) int32
	requestBodyRead(p []byte) int32
	requestTrailers(buf []byte) int32
	requestCancelled() bool
	responseHead(status int, block []byte) int32
	// responseSend is responseHead and responseWrite in one call.
	responseSend(status int, block, p []byte) int32
	responseWrite(p []byte) int32
	responseFlush() int32
	responseTrailers(block []byte) int32
	responseAbort(kind int32)
}

// fetch gets a block whose length only the host knows. It uses buf when that is large enough.
func fetch(buf []byte, call func([]byte) int32) ([]byte, int32) {
	for {
		n := call(buf)
		if n < 0 {
			return nil, n
		}
		if int(n) <= len(buf) {
			return buf[:n], 0
		}
		buf = make([]byte, n)
	}
}
