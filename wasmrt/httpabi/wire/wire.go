package wire

// The names of the ABI: the module that a guest imports from and the functions that it exports.
const (
	Module       = "petrel_http_v1"
	HandleExport = "petrel_http_v1_handle"
	// WarmUpExport is optional: () → (). The host calls it once, outside a request, before it takes the snapshot that each
	// request begins with. What it leaves in the guest's memory is there for every request.
	WarmUpExport = "petrel_http_v1_warmup"
)

// What the host's functions return instead of a count. They are part of the ABI.
const (
	ErrCancelled  = -1 // the client has gone, or the request's time is over
	ErrTooLarge   = -2 // the request's or the response's limit is exceeded
	ErrIO         = -3 // the connection broke
	ErrState      = -4 // not now: the head was sent already, or was not yet
	ErrInvalid    = -5 // a pointer, a status or a header block that makes no sense
	ErrLength     = -6 // more body than the Content-Length said
	ErrNotAllowed = -7 // this status or method has no body
)

// What response_abort is told.
const (
	AbortPanic  = 0 // the handler panicked: 500, if nothing has been sent
	AbortSilent = 1 // the handler wants the connection cut (http.ErrAbortHandler)
)

// MaxFields bounds the fields of a header block, and the values of a field.
const MaxFields = 10_000

// MaxHead bounds an encoded head, in bytes.
const MaxHead = 1 << 20
