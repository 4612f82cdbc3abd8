package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/petrelrun/petrel/controlplane/apps"
)

// The exit codes; doc.go explains them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitRun         = 125 // of petrel run, for petrel's own failures
	exitInterrupted = 130
)

// usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage marks an argument check's errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// exitError ends petrel with a code of its own. With told set there is nothing left to say.
type exitError struct {
	code int
	err  error
	told bool
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Exit ends petrel with a code of its own, when there is nothing left to say.
func Exit(code int) error { return &exitError{code: code, told: true} }

// UsageError marks an error as one of the command line.
func UsageError(err error) error { return usageError{err} }

// Usage marks an argument check's errors as ones of the command line.
func Usage(check cobra.PositionalArgs) cobra.PositionalArgs { return usage(check) }

// InJSON has an error told in JSON.
func InJSON(err error) error { return inJSON{err} }

// inJSON marks an error that is to be told in JSON.
type inJSON struct{ error }

func (e inJSON) Unwrap() error { return e.error }

// report tells the error and answers the exit code.
func report(ctx context.Context, stderr io.Writer, err error) int {
	code := codeOf(ctx, err)
	var exit *exitError
	if errors.As(err, &exit) && exit.told {
		return code
	}
	if code == exitInterrupted {
		return code
	}
	var asJSON inJSON
	if errors.As(err, &asJSON) {
		reportJSON(stderr, err, code)
		return code
	}
	reportText(stderr, err, code)
	return code
}

func codeOf(ctx context.Context, err error) int {
	var exit *exitError
	var wrong usageError
	var refused *apps.Problem
	var status apierrors.APIStatus
	var transport *url.Error
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &wrong):
		return exitUsage
	case errors.As(err, &refused):
		return codeOfProblem(refused)
	case errors.As(err, &status):
		return codeOfStatus(int(status.Status().Code))
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &transport):
		return exitUnreachable
	}
	return exitFailed
}

func codeOfStatus(status int) int {
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return exitRefused
	}
	return exitFailed
}

// codeOfProblem: a version that does not come up has failed, though nothing but the module can mend it.
func codeOfProblem(p *apps.Problem) int {
	if p.Rollout != nil {
		return exitFailed
	}
	return codeOfStatus(p.Status)
}

func reportJSON(stderr io.Writer, err error, code int) {
	var p *apps.Problem
	if !errors.As(err, &p) {
		p = &apps.Problem{Type: "about:blank", Title: err.Error(), Code: nameOf(code), Cause: err.Error()}
	}
	enc := json.NewEncoder(stderr)
	enc.SetEscapeHTML(false)
	// Standard error is gone when this fails; the exit code still tells.
	_ = enc.Encode(p)
}

func nameOf(code int) string {
	switch code {
	case exitUsage:
		return "usage"
	case exitUnreachable:
		return "unreachable"
	case exitRefused:
		return "refused"
	}
	return "failed"
}

func reportText(stderr io.Writer, err error, code int) {
	var p *apps.Problem
	switch {
	case errors.As(err, &p):
		tellProblem(stderr, p)
	case code == exitUnreachable:
		fmt.Fprintf(stderr, "petrel: the server does not answer: %v\n  fix:   start one with `petrel up`, or name another with --server or PETREL_SERVER\n", err)
	case code == exitUsage:
		fmt.Fprintf(stderr, "petrel: %v\n  fix:   petrel help, or petrel COMMAND --help\n", err)
	default:
		fmt.Fprintf(stderr, "petrel: %v\n", err)
	}
}

// tellProblem prints a problem for people: what, why, the mend, and what the failed pod said last.
func tellProblem(w io.Writer, p *apps.Problem) {
	fmt.Fprintf(w, "petrel: %s (%s)\n", p.Title, p.Code)
	for _, member := range []struct{ name, value string }{{"field", p.Field}, {"cause", p.Cause}, {"fix", p.Fix}} {
		if member.value != "" {
			fmt.Fprintf(w, "  %-6s %s\n", member.name+":", member.value)
		}
	}
	for _, e := range p.Errors {
		fmt.Fprintf(w, "  %s: %s\n", e.Field, e.Cause)
	}
	r := p.Rollout
	if r == nil {
		return
	}
	if r.Pod != "" {
		fmt.Fprintf(w, "  pod:   %s %s%s\n", r.Pod, r.Condition, endings(r))
	}
	fmt.Fprintf(w, "  after: %.1f s of %.0f s allowed\n", r.ElapsedMS/1e3, r.AllowedMS/1e3)
	if r.Serving > 0 {
		fmt.Fprintf(w, "  serving: version %d goes on\n", r.Serving)
	}
	if len(r.Logs) > 0 {
		fmt.Fprintf(w, "  last lines:\n    %s\n", strings.Join(r.Logs, "\n    "))
	}
}

func endings(r *apps.RolloutProblem) string {
	s := ""
	if r.ExitCode != nil {
		s += fmt.Sprintf(", exit code %d", *r.ExitCode)
	}
	if r.Restarts > 0 {
		s += fmt.Sprintf(", %d restarts", r.Restarts)
	}
	return s
}
