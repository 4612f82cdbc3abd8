package httpwasm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// kind is which headers a call means.
type kind uint32

const (
	requestHeader kind = iota
	responseHeader
	requestTrailer
	responseTrailer
)

// names tells the headers' names in lower case, sorted.
func (x *exchange) names(k kind) []string {
	var names []string
	switch k {
	case requestHeader:
		for name := range x.r.Header {
			names = append(names, strings.ToLower(name))
		}
		if x.r.Host != "" { // net/http keeps it apart
			names = append(names, "host")
		}
	case responseHeader:
		for name := range x.Header() {
			if !strings.HasPrefix(name, http.TrailerPrefix) {
				names = append(names, strings.ToLower(name))
			}
		}
	case requestTrailer:
		for name := range x.r.Trailer {
			names = append(names, strings.ToLower(name))
		}
	case responseTrailer:
		for name := range x.Header() {
			if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				names = append(names, strings.ToLower(after))
			}
		}
	default:
		x.unknown(k)
	}
	slices.Sort(names)
	return names
}

func (x *exchange) values(k kind, name string) []string {
	x.named(name)
	if k == requestHeader && strings.EqualFold(name, "host") {
		return []string{x.r.Host}
	}
	h, name := x.header(k, name)
	return h[name]
}

// set gives a header one value, or one more.
func (x *exchange) set(k kind, name, value string, add bool) {
	h, name := x.mutable(k, name)
	if k == requestHeader && name == "Host" {
		x.r.Host = value
		return
	}
	if !add {
		h[name] = []string{value}
		return
	}
	h[name] = append(h[name], value)
}

func (x *exchange) remove(k kind, name string) {
	h, name := x.mutable(k, name)
	delete(h, name)
}

// mutable is header, for calls that change it.
func (x *exchange) mutable(k kind, name string) (http.Header, string) {
	x.named(name)
	switch k {
	case requestHeader, requestTrailer:
		x.beforeNext("request header")
	case responseHeader, responseTrailer:
		x.beforeNextOrKept("response header")
	}
	return x.header(k, name)
}

// header finds the map of a kind and the name's key in it.
func (x *exchange) header(k kind, name string) (http.Header, string) {
	name = http.CanonicalHeaderKey(name)
	switch k {
	case requestHeader:
		return x.r.Header, name
	case responseHeader:
		return x.Header(), name
	case requestTrailer:
		if x.r.Trailer == nil {
			x.r.Trailer = http.Header{}
		}
		return x.r.Trailer, name
	case responseTrailer:
		return x.Header(), http.TrailerPrefix + name
	}
	x.unknown(k)
	return nil, ""
}

func (x *exchange) named(name string) {
	if name == "" {
		x.misuse("a header's name is empty")
	}
}

func (x *exchange) unknown(k kind) { x.misuse(fmt.Sprintf("there is no header kind %d", k)) }

func (x *exchange) beforeNext(what string) {
	if x.phase != handling {
		x.misuse("cannot change the " + what + " after the next handler")
	}
}

func (x *exchange) beforeNextOrKept(what string) {
	if x.phase != handling && x.features&bufferResponse == 0 {
		x.misuse("cannot change the " + what + " after the next handler, unless buffer_response is enabled")
	}
}
