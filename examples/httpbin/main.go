// Httpbin serves github.com/mccutchen/go-httpbin, a program that was not written for Petrel, as an HTTP guest.
//
// On other platforms than wasip1, go run . serves the same handler natively, which is handy while developing.
package main

import (
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
	"github.com/petrelrun/petrel/wasmrt/guest"
)

// maxDuration keeps /delay and /drip under the default wall time of a request (30s).
const maxDuration = 10 * time.Second

var handler = httpbin.New(httpbin.WithMaxDuration(maxDuration))

func init() { guest.Handle(handler) }
