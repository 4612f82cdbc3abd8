// Package defaultclient makes http.DefaultTransport of a guest go through the host, and with it http.Get,
// http.DefaultClient and every client without a Transport of its own:
//
//	import _ "github.com/petrelrun/petrel/wasmrt/guest/defaultclient"
//
// http.DefaultTransport stays an *http.Transport, which libraries rely on; a clone of it does not go through the host.
// On other platforms than wasip1 the import does nothing.
//
// It imports the standard library and wasmrt/guest.
package defaultclient
