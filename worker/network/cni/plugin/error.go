package plugin

import "fmt"

// Error is an error as the specification wants it.
type Error struct {
	CNIVersion string `json:"cniVersion"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

// Codes of errors, by the specification.
const (
	CodeVersion      = 1
	CodeContainer    = 3
	CodeEnvironment  = 4
	CodeIO           = 5
	CodeDecode       = 6
	CodeConfig       = 7
	CodeTryAgain     = 11
	CodeNotAvailable = 50
	// CodeFailed is ours: whatever else went wrong.
	CodeFailed = 100
)

// NewError makes an error of the newest version that is spoken.
func NewError(code int, format string, args ...any) *Error {
	return &Error{CNIVersion: Versions[len(Versions)-1], Code: code, Msg: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + " (" + e.Details + ")"
}
