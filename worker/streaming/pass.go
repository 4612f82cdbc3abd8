package streaming

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
)

// upgradeHeaders are what a stream server needs of a client's request. Credentials are not among them.
var upgradeHeaders = []string{
	"Connection", "Upgrade", "X-Stream-Protocol-Version",
	"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions",
}

// pass has the client and the runtime's server talk to each other as they like.
func (y *Relay) pass(w http.ResponseWriter, r *http.Request, t *target) error {
	var failed error
	proxy := &httputil.ReverseProxy{
		Transport: t.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = t.url, ""
			p.Out.Header = only(p.Out.Header, upgradeHeaders)
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode != http.StatusSwitchingProtocols {
				return refusal(resp)
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ErrorLog:     slog.NewLogLogger(y.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, r)
	return failed
}

func only(h http.Header, names []string) http.Header {
	out := make(http.Header, len(names))
	for _, name := range names {
		if values, ok := h[http.CanonicalHeaderKey(name)]; ok {
			out[name] = values
		}
	}
	return out
}
