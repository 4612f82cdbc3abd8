package control

import "time"

// MethodExec runs a further command in a container: ExecParams → ExecResult, once it has ended. The ends of pipes come with
// the request: first one that says, by its end, that nobody wants the command any more, then those of the streams that
// are named.
const MethodExec = "exec"

// MaxExecs bounds the commands that run beside a container's own at a time: each is an instance with a memory of its own.
const MaxExecs = 16

// ExecParams say what is to be run. The first argument names the module itself or one of its exports.
type ExecParams struct {
	ID      string        `json:"id"`
	Args    []string      `json:"args"`
	Stdin   bool          `json:"stdin,omitempty"`
	Stdout  bool          `json:"stdout,omitempty"`
	Stderr  bool          `json:"stderr,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // 0: none
	// Check asks whether it could be run, and no more.
	Check bool `json:"check,omitempty"`
}

// Validate holds the parameters to their limits.
func (p *ExecParams) Validate() error {
	if p.ID == "" || len(p.Args) == 0 || p.Args[0] == "" {
		return Errorf(CodeInvalid, "id and a command are required")
	}
	size := 0
	for _, s := range p.Args {
		size += len(s) + 1
	}
	if size > MaxStrings {
		return Errorf(CodeInvalid, "%d bytes of arguments; at most %d are passed", size, MaxStrings)
	}
	if p.Timeout < 0 {
		return Errorf(CodeInvalid, "a timeout of %s", p.Timeout)
	}
	return nil
}

// Files is how many descriptors come with the request.
func (p *ExecParams) Files() int {
	if p.Check {
		return 0
	}
	n := 1
	for _, there := range []bool{p.Stdin, p.Stdout, p.Stderr} {
		if there {
			n++
		}
	}
	return n
}

// ExecResult is how a command ended.
type ExecResult struct {
	ExitCode int32  `json:"exitCode"`
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	TimedOut bool   `json:"timedOut,omitempty"`
}
