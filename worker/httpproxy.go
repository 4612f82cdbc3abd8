package worker

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

const (
	// proxyDialTimeout and proxyHeaderTimeout bound how long a pod may take to be connected to, and to begin to answer.
	proxyDialTimeout   = 5 * time.Second
	proxyHeaderTimeout = time.Minute
)

// newPodTransport reaches pods. It keeps no connections: another pod may come to have the address. A pod's certificate says
// nothing of the pod, whose address is what was asked for.
func newPodTransport() *http.Transport {
	return &http.Transport{
		DialContext:       (&net.Dialer{Timeout: proxyDialTimeout}).DialContext,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: proxyDialTimeout, ResponseHeaderTimeout: proxyHeaderTimeout,
	}
}

// podProxy passes a request on to a pod's port, as the API server's pods/proxy asks for it: what is asked of the pod is
// the parameter uri.
func (s *nodeServer) podProxy(w http.ResponseWriter, r *http.Request) {
	a, err := s.pod(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	target, err := podTarget(r, a.snapshot().ip)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	proxy := &httputil.ReverseProxy{
		Transport: s.toPods, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL, p.Out.Host = target, target.Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprintf("pod %s does not answer at port %s: %v", r.PathValue("pod"), target.Port(), err), http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, r)
}

// podTarget is where a request for a pod goes.
func podTarget(r *http.Request, ip string) (*url.URL, error) {
	scheme := r.PathValue("scheme")
	port, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil || port == 0 || scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("%s port %q: want http or https, and a number from 1 to 65535", scheme, r.PathValue("port"))
	}
	target, err := url.ParseRequestURI(r.URL.Query().Get("uri"))
	if err != nil || target.Host != "" || target.Path == "" || target.Path[0] != '/' {
		return nil, fmt.Errorf("uri %q: want a path", r.URL.Query().Get("uri"))
	}
	if ip == "" {
		return nil, fmt.Errorf("pod %q has no address yet", r.PathValue("pod"))
	}
	target.Scheme, target.Host = scheme, net.JoinHostPort(ip, strconv.FormatUint(port, 10))
	return target, nil
}
