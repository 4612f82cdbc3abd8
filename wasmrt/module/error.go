package module

import "fmt"

// Code tells programs why a module was refused. Codes are part of the deploy API: they are never renamed.
type Code string

const (
	CodeNotWasm            Code = "not_wasm"
	CodeTextFormat         Code = "text_format"
	CodeComponent          Code = "component_not_supported"
	CodeVersion            Code = "unsupported_version"
	CodeTooLarge           Code = "too_large"
	CodeMalformed          Code = "malformed"
	CodeLimit              Code = "limit_exceeded"
	CodeUnresolvedImport   Code = "unresolved_import"
	CodeImportType         Code = "import_type_mismatch"
	CodeNoEntryPoint       Code = "no_entry_point"
	CodeEntryPointType     Code = "entry_point_type_mismatch"
	CodeUnsupportedFeature Code = "unsupported_feature"
	// CodeHTTPMode is for a way of serving that was asked for and that the module cannot be served in.
	CodeHTTPMode Code = "http_mode_impossible"
	// CodeInvalid is for a module whose structure can be read but whose instructions do not validate; the engine says it.
	CodeInvalid Code = "invalid"
)

// Error says why a module is refused and how to mend it.
type Error struct {
	Code Code
	// Field is the part of the module meant, e.g. "import env.abort" or "memory"; empty when it is the whole.
	Field string
	// Cause is one sentence without a full stop, in lower case.
	Cause string
	// Fix is what the module's author can do; empty when nothing sensible can be said.
	Fix string
}

func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Cause
	}
	return e.Cause + ": " + e.Fix
}

func malformed(field string, format string, args ...any) *Error {
	return &Error{
		Code:  CodeMalformed,
		Field: field,
		Cause: fmt.Sprintf("read %s: ", field) + fmt.Sprintf(format, args...),
		Fix:   "the file is cut off or damaged: build or upload it again",
	}
}
