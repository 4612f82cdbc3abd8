// Package wagi serves HTTP with commands, as WAGI (WebAssembly Gateway Interface) and CGI (RFC 3875) have it: each request
// runs the program once, in an instance of its own. The request's head is its environment, the body its standard input;
// its standard output is the response, a header block, an empty line, a body. Standard error is the log.
//
//	REQUEST_METHOD, REQUEST_URI, PATH_INFO, PATH_TRANSLATED, QUERY_STRING, CONTENT_TYPE, CONTENT_LENGTH, HTTP_*,
//	SERVER_NAME, SERVER_PORT, SERVER_PROTOCOL, SERVER_SOFTWARE, REMOTE_ADDR, REMOTE_PORT, REMOTE_HOST, HTTPS,
//	GATEWAY_INTERFACE, SCRIPT_NAME, X_FULL_URL, X_RAW_PATH_INFO, X_MATCHED_ROUTE
//
// The pod's own environment counts more than the request's, so that no client can change it with a header. The pod's
// arguments are the program's; when it has none, the query's parts (between &) are, as WAGI says. "Proxy" is left out of
// HTTP_* (programs take HTTP_PROXY for the operator's word), and so are names with an underscore.
//
// Both bodies stream. A request whose length is not known is kept first, up to a limit, because CONTENT_LENGTH must be
// told before the program runs. A program that ends with another code than zero has failed, whatever it printed.
//
// An instance is made for each request and never used again: a command cannot be snapshotted after its beginning.
//
// It may import wasmrt/engine and wasmrt/module.
package wagi
