package wagi

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultPort    = "80"
	defaultTLSPort = "443"
)

// environment makes a request's variables. Length is the body's.
func environment(r *http.Request, length int64) []string {
	scheme, port := "http", defaultPort
	if r.TLS != nil {
		scheme, port = "https", defaultTLSPort
	}
	server := r.Host
	if host, p, err := net.SplitHostPort(r.Host); err == nil {
		server, port = host, p
	}
	remote, remotePort, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote, remotePort = r.RemoteAddr, ""
	}
	uri := r.RequestURI
	if uri == "" { // a request that did not come over a connection
		uri = r.URL.RequestURI()
	}
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_SOFTWARE=WAGI/1",
		"SERVER_PROTOCOL=" + r.Proto, "SERVER_NAME=" + server, "SERVER_PORT=" + port,
		"REQUEST_METHOD=" + r.Method, "REQUEST_URI=" + uri, "QUERY_STRING=" + r.URL.RawQuery,
		"SCRIPT_NAME=", "PATH_INFO=" + printable(r.URL.Path), "PATH_TRANSLATED=" + printable(r.URL.Path),
		"X_RAW_PATH_INFO=" + r.URL.EscapedPath(), "X_MATCHED_ROUTE=/...", "X_FULL_URL=" + scheme + "://" + r.Host + uri,
		"REMOTE_ADDR=" + remote, "REMOTE_HOST=" + remote, "REMOTE_PORT=" + remotePort,
		"CONTENT_LENGTH=" + strconv.FormatInt(length, 10),
	}
	if r.TLS != nil {
		env = append(env, "HTTPS=on")
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		env = append(env, "CONTENT_TYPE="+t)
	}
	if r.Host != "" {
		env = append(env, "HTTP_HOST="+r.Host)
	}
	return append(env, headerVariables(r.Header)...)
}

// headerVariables makes HTTP_* of a header, sorted, so that one request makes one environment.
func headerVariables(h http.Header) []string {
	var env []string
	for name, values := range h {
		switch {
		case name == "Content-Type", name == "Content-Length", name == "Host":
			continue // they have variables of their own
		case name == "Proxy", strings.Contains(name, "_"):
			continue
		}
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		env = append(env, "HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strings.Join(values, separator))
	}
	slices.Sort(env)
	return env
}

// printable takes out what no variable may have: a decoded path can have a zero byte.
func printable(path string) string { return strings.ReplaceAll(path, "\x00", "") }

// arguments are the pod's, or the query's parts when the pod names none. The program's name stands first.
func arguments(own []string, query string) []string {
	if len(own) > 1 || query == "" {
		return own
	}
	args := slices.Clip(own)
	if len(args) == 0 {
		args = []string{"app"}
	}
	for part := range strings.SplitSeq(query, "&") {
		if part != "" {
			args = append(args, printable(part))
		}
	}
	return args
}
