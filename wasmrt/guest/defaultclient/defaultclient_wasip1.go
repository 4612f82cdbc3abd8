package defaultclient

import (
	"net/http"

	"github.com/petrelrun/petrel/wasmrt/guest"
)

func init() {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return // another package has put something else there, and knows why
	}
	// Its own HTTP/2 would claim https for itself; the host has one.
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.RegisterProtocol("http", guest.Transport)
	t.RegisterProtocol("https", guest.Transport)
}
