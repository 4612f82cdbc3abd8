package auth

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// AdminName is the user that every loopback request is.
const AdminName = "petrel:admin"

// Loopback is the Authenticator and the Authorizer of loopback mode: one user, who may do everything.
type Loopback struct{}

var admin = &User{Name: AdminName, Groups: []string{GroupMasters, GroupAuthenticated}}

// Authenticate refuses what a web page may have caused and takes everything else for the admin.
func (Loopback) Authenticate(r *http.Request) (*User, error) {
	if err := checkHost(r.Host); err != nil {
		return nil, err
	}
	if err := checkOrigin(r); err != nil {
		return nil, err
	}
	return admin, nil
}

// Authorize lets the admin do everything, and nobody else anything.
func (Loopback) Authorize(_ context.Context, a *Attributes) error {
	if a.User == nil || a.User.Name != AdminName {
		return &Refusal{Status: http.StatusForbidden, Message: "in loopback mode only " + AdminName + " may do anything"}
	}
	return nil
}

// IsLoopbackHost tells whether a host, with or without a port, can only mean this machine: localhost, a name below
// it, 127.0.0.0/8 or [::1].
func IsLoopbackHost(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false
		}
		name = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().IsLoopback() && addr.Zone() == ""
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") && validLabels(name)
}

func validLabels(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func checkHost(host string) error {
	if IsLoopbackHost(host) {
		return nil
	}
	return &Refusal{Status: http.StatusForbidden, Message: fmt.Sprintf(
		"the Host header %q does not name this machine; this API answers to localhost, names below .localhost, 127.0.0.0/8 and [::1] only", host)}
}

// checkOrigin refuses requests that a browser marks as coming from another origin than the API's own. What is no
// browser sends neither header. A page of another origin may still link here: following a link changes nothing, and
// the page cannot read what comes.
func checkOrigin(r *http.Request) error {
	if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r.Host, r.TLS != nil) {
		return crossOrigin("Origin", origin)
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
		return nil
	default:
		if isNavigation(r) {
			return nil
		}
		return crossOrigin("Sec-Fetch-Site", site)
	}
}

func isNavigation(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

func sameOrigin(origin, host string, overTLS bool) bool {
	u, err := url.Parse(origin)
	scheme := "http"
	if overTLS {
		scheme = "https"
	}
	return err == nil && u.Scheme == scheme && strings.EqualFold(u.Host, host)
}

func crossOrigin(header, value string) error {
	return &Refusal{Status: http.StatusForbidden, Message: fmt.Sprintf(
		"the request was caused by a web page of another origin (%s: %s); this API has no CORS, so call it from a program or from its own origin", header, value)}
}
