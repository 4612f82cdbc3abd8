package service

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// problem is an error answer after RFC 9457, with the members that Petrel's API has too.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Fix    string `json:"fix,omitempty"`
}

func (p problem) write(w http.ResponseWriter) {
	p.Type = "about:blank"
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	body, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return // a struct of strings always encodes
	}
	_, _ = w.Write(append(body, '\n'))
}

func unknownHost(w http.ResponseWriter, r *http.Request) {
	problem{
		Title: "No app here", Status: http.StatusNotFound, Code: "unknown_host",
		Detail: fmt.Sprintf("no app is served at the host %q", hostname(r.Host)),
		Fix: "an app is served at http://APP.localhost, or http://APP.NAMESPACE.localhost outside of the namespace default, on this port; " +
			"deploy one with: petrel deploy APP module.wasm, or: curl -T module.wasm http://127.0.0.1:8080/v1/apps/APP",
	}.write(w)
}

func noEndpoint(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", retryAfter)
	problem{
		Title: "App is not ready", Status: http.StatusServiceUnavailable, Code: "no_endpoint",
		Detail: fmt.Sprintf("no pod of the app at %q was ready within %v", hostname(r.Host), holdTimeout),
		Fix:    "look at its pods with: kubectl get pods, and at what they say with: petrel logs",
	}.write(w)
}

func badAnswer(w http.ResponseWriter, r *http.Request, err error) {
	problem{
		Title: "App did not answer", Status: http.StatusBadGateway, Code: "bad_answer",
		Detail: fmt.Sprintf("the app at %q broke off: %v", hostname(r.Host), err),
		Fix:    "look at what its pods say with: petrel logs",
	}.write(w)
}
