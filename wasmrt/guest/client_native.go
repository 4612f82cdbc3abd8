//go:build !wasip1

package guest

import "net/http"

// Transport makes outgoing HTTP requests. In a guest it goes through the host; elsewhere it is http.DefaultTransport.
var Transport = http.DefaultTransport
