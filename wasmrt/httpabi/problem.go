package httpabi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

// The codes of problems. Clients rely on them: they are never renamed.
const (
	CodeCPUTime    = "cpu_time"          // 504: the request took more processor time than it may
	CodeWallTime   = "wall_time"         // 504: the request took longer than it may
	CodeTrap       = "trap"              // 502: the guest broke off
	CodeGuestExit  = "guest_exit"        // 502: the guest ended itself
	CodeNoResponse = "no_response"       // 502: the guest returned without an answer
	CodeGuestPanic = "guest_panic"       // 500: the guest's handler panicked
	CodeMemory     = "memory"            // 507: the guest needs more memory than it may have
	CodeQueue      = "queue"             // 503: too many requests wait
	CodeClosing    = "closing"           // 503: the handler is being closed
	CodeTooLarge   = "request_too_large" // 413: the body's length is over the limit
	CodeHead       = "head_too_large"    // 431: the head is over what a guest is handed
	CodeStart      = "start"             // 502: no instance could be made

	// CodeResponseTooLarge has no status: the response has begun, so it is cut. It is told in logs and counts.
	CodeResponseTooLarge = "response_too_large"
	CodeNoNext           = "no_next" // 404: an http-wasm guest handed the request on, and there is nobody
)

// Problem is a body of media type application/problem+json (RFC 9457), with two members of our own: code and fix.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Fix    string `json:"fix,omitempty"`

	retryAfter time.Duration
	function   string // of the guest, that it failed in
}

func problem(status int, code, detail, fix string) *Problem {
	return &Problem{
		Type:   "urn:petrel:problem:" + code,
		Title:  http.StatusText(status),
		Status: status,
		Detail: detail,
		Code:   code,
		Fix:    fix,
	}
}

func closing() *Problem {
	p := problem(http.StatusServiceUnavailable, CodeClosing, "the app is being stopped or replaced", "try again")
	p.retryAfter = time.Second
	return p
}

func (p *Problem) in(function string) *Problem {
	p.function = function
	return p
}

func (p *Problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // strings and a number always marshal
		body = []byte(`{}`)
	}
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.retryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(max(1, int(p.retryAfter.Round(time.Second)/time.Second))))
	}
	if p.Code == CodeWallTime || p.Code == CodeClosing {
		h.Set("Connection", "close") // the deadline that ended a blocked read has spoilt it
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}

// problemOf says how the end of a guest is told to the client; nil when there is nobody to tell.
func (h *Handler) problemOf(err error) *Problem {
	var memory *engine.MemoryError
	var cpu *engine.CPUTimeError
	var trap *engine.TrapError
	var exit *engine.ExitError
	switch {
	case errors.Is(err, errWallTime):
		return problem(http.StatusGatewayTimeout, CodeWallTime,
			fmt.Sprintf("the guest did not answer within %s", h.cfg.WallTime),
			"make the handler faster, or raise the wall time (pod annotation petrel.run/wall-time)")
	case errors.Is(err, errStartTime):
		return problem(http.StatusGatewayTimeout, CodeWallTime, err.Error(), "do less in init functions and warm-ups")
	case errors.Is(err, errClosing):
		return closing()
	case errors.Is(err, errClientGone):
		return nil
	case errors.As(err, &cpu):
		return problem(http.StatusGatewayTimeout, CodeCPUTime, cpu.Error(),
			"make the handler cheaper, or raise the limit (pod annotation petrel.run/cpu-time)").in(cpu.Function)
	case errors.As(err, &memory):
		return problem(http.StatusInsufficientStorage, CodeMemory, memory.Error(),
			"use less memory in a request, or raise the limit (resources.limits.memory)")
	case errors.As(err, &trap):
		return problem(http.StatusBadGateway, CodeTrap, trap.Error(), "read the app's log; build the module with its name section to see functions by name").in(trap.Function)
	case errors.As(err, &exit):
		return problem(http.StatusBadGateway, CodeGuestExit, exit.Error()+" before it answered", "read the app's log: a Go program exits with 2 after a fatal error")
	}
	return problem(http.StatusBadGateway, CodeStart, err.Error(), "")
}
