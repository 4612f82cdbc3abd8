package module

import (
	"fmt"
	"strings"
)

// ABI is how a module serves, or that it does not.
type ABI string

const (
	// ABIReactor is Petrel's own: HandleExport answers one request through the functions of HTTPModule.
	ABIReactor ABI = "petrel-http-v1"
	// ABIHTTPWasm is http-wasm's: HandleRequestExport answers one request through the functions of HTTPWasmModule.
	ABIHTTPWasm ABI = "http-wasm"
	// ABIWAGI runs a command for each request: the request is its environment and standard input, its standard output the
	// response.
	ABIWAGI ABI = "wagi"
	// ABISockets is a command that accepts connections itself, from listening sockets that it is handed.
	ABISockets ABI = "sockets"
	// ABICommand serves nothing: it runs to its end.
	ABICommand ABI = "command"
)

// The module that http-wasm guests import from, and what they export.
const (
	HTTPWasmModule       = "http_handler"
	HandleRequestExport  = "handle_request"
	HandleResponseExport = "handle_response"
)

// AnnotationHTTP is the pod annotation whose value is the override of Detect.
const AnnotationHTTP = "petrel.run/http"

// The overrides of Detect, as AnnotationHTTP has them.
const (
	HTTPAuto     = "auto"
	HTTPReactor  = "reactor"
	HTTPHTTPWasm = "http-wasm"
	HTTPWAGI     = "wagi"
	HTTPSockets  = "sockets"
	HTTPCommand  = "command"
)

// modes are the overrides but HTTPAuto: which ABI each means, and what a module lacks for it (empty: nothing).
var modes = []struct {
	name  string
	abi   ABI
	lacks func(*Info) string
}{
	{HTTPReactor, ABIReactor, func(i *Info) string { return lacking(i, HandleExport) }},
	{HTTPHTTPWasm, ABIHTTPWasm, func(i *Info) string { return lacking(i, HandleRequestExport) }},
	{HTTPWAGI, ABIWAGI, lackingStart},
	{HTTPSockets, ABISockets, lackingSockets},
	{HTTPCommand, ABICommand, lackingStart},
}

// HTTPModes lists the overrides.
func HTTPModes() []string {
	names := []string{HTTPAuto}
	for _, m := range modes {
		names = append(names, m.name)
	}
	return names
}

// Detect says how a module is served, and in a sentence which import or export decided. An empty override is HTTPAuto.
// HasPort tells whether its pod names a port: a command without one serves nothing. An override that the module cannot
// keep is an *Error.
func Detect(info *Info, override string, hasPort bool) (abi ABI, reason string, err error) {
	if override == "" || override == HTTPAuto {
		abi, reason, err = detect(info, hasPort)
	} else {
		abi, reason, err = forced(info, override)
	}
	if err == nil && (abi == ABICommand || abi == ABISockets) && info.ImportsFrom(HTTPClientModule) {
		return "", "", &Error{
			Code: CodeUnresolvedImport, Field: "import " + HTTPClientModule,
			Cause: fmt.Sprintf("the module imports %s, which serves guests that are handed requests, and it is served as %s: %s", HTTPClientModule, abi, reason),
			Fix:   "connect with " + NetModule + " (Go: package wasmrt/guest/network), or build it as an HTTP guest",
		}
	}
	return abi, reason, err
}

// forced holds an override against what the module has.
func forced(info *Info, override string) (ABI, string, error) {
	for _, m := range modes {
		if m.name != override {
			continue
		}
		if lacks := m.lacks(info); lacks != "" {
			return "", "", &Error{
				Code: CodeHTTPMode, Field: AnnotationHTTP,
				Cause: fmt.Sprintf("%s is %q, and the module cannot be served so: %s", AnnotationHTTP, override, lacks),
				Fix:   "this module can be " + strings.Join(possible(info), ", "),
			}
		}
		return m.abi, fmt.Sprintf("%s is %q", AnnotationHTTP, override), nil
	}
	return "", "", &Error{
		Code: CodeHTTPMode, Field: AnnotationHTTP,
		Cause: fmt.Sprintf("%s is %q", AnnotationHTTP, override),
		Fix:   "allowed are " + strings.Join(HTTPModes(), ", "),
	}
}

// possible lists the overrides that the module can keep.
func possible(info *Info) []string {
	can := []string{HTTPAuto}
	for _, m := range modes {
		if m.lacks(info) == "" {
			can = append(can, m.name)
		}
	}
	return can
}

func detect(info *Info, hasPort bool) (ABI, string, error) {
	switch {
	case info.exports(HandleExport):
		return ABIReactor, "it exports " + HandleExport, nil
	case isHTTPWasm(info):
		return ABIHTTPWasm, "it exports " + HandleRequestExport + importing(info, HTTPWasmModule), nil
	case !info.exports(StartExport):
		return "", "", &Error{
			Code: CodeNoEntryPoint, Field: "exports", Cause: "the module is a library: nothing in it can be run", Fix: adviseEntryPoint(info),
		}
	case !hasPort:
		return ABICommand, "it exports " + StartExport + ", and its pod names no port", nil
	case info.accepts():
		return ABISockets, "it exports " + StartExport + " and imports sock_accept" + goAccepts(info), nil
	}
	return ABIWAGI, "it exports " + StartExport + " and imports no sock_accept, so it cannot accept connections itself", nil
}

// goAccepts warns of the one import that says little: package net always has it.
func goAccepts(info *Info) string {
	if _, isGo := info.ProducedBy("Go"); !isGo {
		return ""
	}
	return "; every Go program that links package net does, so one that speaks WAGI needs " + AnnotationHTTP + ": " + HTTPWAGI
}

func importing(info *Info, from string) string {
	if !info.ImportsFrom(from) {
		return ""
	}
	return " and imports from " + from
}

func lacking(info *Info, export string) string {
	if info.exports(export) {
		return ""
	}
	return "it does not export " + export
}

func lackingStart(info *Info) string {
	if info.Kind == KindReactor {
		return "it is a reactor, not a command"
	}
	return lacking(info, StartExport)
}

func lackingSockets(info *Info) string {
	if lacks := lackingStart(info); lacks != "" || info.accepts() {
		return lacks
	}
	return "it imports no sock_accept, so it cannot accept connections"
}

// isHTTPWasm: an export of that name alone may be anything, so http-wasm's other half must be there too.
func isHTTPWasm(info *Info) bool {
	return info.exports(HandleRequestExport) && (info.ImportsFrom(HTTPWasmModule) || info.exports(HandleResponseExport))
}

func kindOf(info *Info) Kind {
	switch {
	case info.exports(HandleExport), isHTTPWasm(info):
		return KindReactor
	case info.exports(StartExport):
		return KindCommand
	}
	return KindLibrary
}

func (i *Info) exports(function string) bool {
	_, ok := i.Export(function, KindFunction)
	return ok
}

// accepts tells whether the module could accept a connection.
func (i *Info) accepts() bool {
	for _, im := range i.Imports {
		if im.Module == WASIModule && im.Name == "sock_accept" {
			return true
		}
	}
	return false
}
