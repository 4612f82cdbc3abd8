package apps

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// ProblemMediaType is RFC 9457's.
const ProblemMediaType = "application/problem+json"

// problemTypes is where each code is explained.
const problemTypes = "https://github.com/petrelrun/petrel/blob/main/docs/problems.md#"

// Problem is every error that this API answers: RFC 9457's members, and what Petrel adds for programs (code, field)
// and for people (cause, fix).
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"`

	Code  string `json:"code"`
	Field string `json:"field,omitempty"`
	Cause string `json:"cause,omitempty"`
	Fix   string `json:"fix,omitempty"`

	// Errors names each field where there are several.
	Errors []FieldProblem `json:"errors,omitempty"`
	// Rollout tells how far a deploy came whose pods failed.
	Rollout *RolloutProblem `json:"rollout,omitempty"`

	allow      string // of 405
	retryAfter string // of 429 and 503
}

// FieldProblem is what is wrong with one field.
type FieldProblem struct {
	Field string `json:"field"`
	Cause string `json:"cause"`
}

// RolloutProblem is the state of a version that did not come up.
type RolloutProblem struct {
	Version int64  `json:"version"`
	Pod     string `json:"pod,omitempty"`
	// Condition is the pod's: CrashLoopBackOff, ImagePullBackOff, Unschedulable …
	Condition string   `json:"condition,omitempty"`
	Message   string   `json:"message,omitempty"`
	Restarts  int32    `json:"restarts,omitempty"`
	ExitCode  *int32   `json:"exit_code,omitempty"`
	Logs      []string `json:"logs,omitempty"`
	ElapsedMS float64  `json:"elapsed_ms"`
	AllowedMS float64  `json:"allowed_ms"`
	// Serving is the version that goes on serving, 0 for none.
	Serving int64 `json:"serving"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string {
	s := p.Title
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// problem makes one; cause and fix are sentences without a full stop.
func problem(status int, code, title, field, cause, fix string) *Problem {
	return &Problem{
		Type: problemTypes + code, Title: title, Status: status, Code: code, Field: field, Cause: cause, Fix: fix,
		Detail: detail(cause, fix),
	}
}

func detail(cause, fix string) string {
	if fix == "" || cause == "" {
		return cause + fix
	}
	return cause + ". " + strings.ToUpper(fix[:1]) + fix[1:]
}

// invalid is for what a request says.
func invalid(code, field, cause, fix string) *Problem {
	return problem(http.StatusUnprocessableEntity, code, "The request cannot be carried out as it is", field, cause, fix)
}

func badRequest(field, cause, fix string) *Problem {
	return problem(http.StatusBadRequest, "bad_request", "The request is malformed", field, cause, fix)
}

func tooLarge(what string, limit int64) *Problem {
	return problem(http.StatusRequestEntityTooLarge, "too_large", "The body is too large", "body",
		fmt.Sprintf("the %s exceeds the limit of %d MiB (%d bytes)", what, limit>>20, limit),
		"make it smaller: strip debug information (Go: -ldflags=-s -w, others: wasm-strip), or split the program")
}

// moduleProblem tells why a module is refused, in the words of the room that reads modules.
func moduleProblem(err error) *Problem {
	var m *module.Error
	if !errors.As(err, &m) {
		return problem(http.StatusUnprocessableEntity, "malformed", "The module cannot be read", "body", err.Error(), "build it again")
	}
	status := http.StatusUnprocessableEntity
	if m.Code == module.CodeTooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	fix := m.Fix
	if fix == "" {
		fix = "build the module again, for WASI preview 1 (wasm32-wasip1)"
	}
	return problem(status, string(m.Code), "The module cannot run here", m.Field, m.Cause, fix)
}

// apiProblem translates an error of the object store.
func apiProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return problem(http.StatusInternalServerError, "internal", "The request failed", "", err.Error(),
			"try again; if it stays, the control plane's log says more")
	}
	s := status.Status()
	code := strings.ToLower(string(s.Reason))
	switch s.Reason {
	case metav1.StatusReasonInvalid:
		return invalidObject(&s)
	case metav1.StatusReasonUnknown:
		code = "internal"
	case metav1.StatusReasonNotFound:
		code = "not_found"
	}
	return problem(int(s.Code), code, http.StatusText(int(s.Code)), "", s.Message, fixFor(s.Reason))
}

func fixFor(reason metav1.StatusReason) string {
	switch reason {
	case metav1.StatusReasonNotFound:
		return "check the name and ?namespace="
	case metav1.StatusReasonConflict, metav1.StatusReasonAlreadyExists:
		return "someone else wrote at the same time: try again"
	case metav1.StatusReasonForbidden:
		return "the message says what is in the way"
	}
	return "try again; if it stays, the control plane's log says more"
}

func invalidObject(s *metav1.Status) *Problem {
	p := invalid("invalid", "", s.Message, "correct the fields that are named")
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			p.Errors = append(p.Errors, FieldProblem{Field: c.Field, Cause: c.Message})
		}
	}
	if len(p.Errors) > 0 {
		p.Field = p.Errors[0].Field
	}
	return p
}

// write answers the problem.
func (p *Problem) write(w http.ResponseWriter, r *http.Request) {
	out := *p
	out.Instance = r.URL.Path
	h := w.Header()
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	h.Set("Content-Type", ProblemMediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	// The client is gone when this fails; there is nobody left to tell.
	_ = enc.Encode(&out)
}
