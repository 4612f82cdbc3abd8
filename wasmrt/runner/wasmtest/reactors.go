package wasmtest

import "time"

const http = "petrel_http_v1"

var (
	responseHead  = imported{http, "response_head", signature{[]byte{i32, i32, i32}, []byte{i32}}}
	responseWrite = imported{http, "response_write", signature{[]byte{i32, i32}, []byte{i32}}}
)

// atHead is the encoded head of a response: no fields.
const atHead = 128

// Serve is a reactor that sleeps and then answers 200 with the body. It prints log, which may be empty, before.
func Serve(body, log string, d time.Duration) []byte {
	imports := []imported{responseHead, responseWrite, fdWrite, pollOneoff}
	var before []byte
	if log != "" {
		before = write(2, 1, i32Const(atText+int32(len(body))), i32Const(int32(len(log))))
	}
	if d > 0 {
		before = append(before, sleep(3)...)
	}
	return definition{
		imports: imports,
		functions: []function{{"petrel_http_v1_handle", join(before,
			i32Const(200), i32Const(atHead), i32Const(1), callFunc(0), drop,
			i32Const(atText), i32Const(int32(len(body))), callFunc(1), drop,
		)}},
		pages: 1,
		data:  []segment{subscription(d), {atHead, []byte{0}}, {atText, []byte(body + log)}},
	}.encode()
}

// Spin is a reactor whose requests never end by themselves.
func Spin() []byte {
	return definition{functions: []function{{"petrel_http_v1_handle", forever}}, pages: 1}.encode()
}

// Stillborn is a reactor that cannot be initialised.
func Stillborn() []byte {
	return definition{functions: []function{{"_initialize", unreachable}, {"petrel_http_v1_handle", nil}}, pages: 1}.encode()
}

// Large is a reactor whose memory starts with that many pages of 64 KiB.
func Large(pages uint64) []byte {
	return definition{functions: []function{{"petrel_http_v1_handle", nil}}, pages: pages}.encode()
}
