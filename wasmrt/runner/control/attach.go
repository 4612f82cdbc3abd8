package control

// MethodAttach connects to a container's own streams: AttachParams → nothing, once the container has ended or nobody wants them
// any more. Descriptors come as with MethodExec.
const MethodAttach = "attach"

// AttachParams say which streams are wanted.
type AttachParams struct {
	ID     string `json:"id"`
	Stdin  bool   `json:"stdin,omitempty"`
	Stdout bool   `json:"stdout,omitempty"`
	Stderr bool   `json:"stderr,omitempty"`
	// Check asks whether they could be had, and no more.
	Check bool `json:"check,omitempty"`
}

// Files is how many descriptors come with the request.
func (p *AttachParams) Files() int {
	e := ExecParams{Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Check: p.Check}
	return e.Files()
}
