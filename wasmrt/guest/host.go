package guest

// host is the ABI as this package uses it: the imports in a guest, a double in its tests.
type host interface {
	requestHead() ([]byte, int32)
	requestBodyRead(p []byte) int32
	requestTrailers() ([]byte, int32)
	requestCancelled() bool
	responseHead(status int, block []byte) int32
	responseWrite(p []byte) int32
	responseFlush() int32
	responseTrailers(block []byte) int32
	responseAbort(kind int32)
}
