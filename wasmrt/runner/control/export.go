package control

// Exported is a container as another runner would have to make it, to take its place.
type Exported struct {
	Params CreateParams `json:"params"`
	// Running says that it is to be started, Movable that this loses nothing but its connections' state: what it serves
	// are requests, each by itself.
	Running bool `json:"running,omitempty"`
	Movable bool `json:"movable,omitempty"`
}

// MaxExported bounds the containers in one answer to MethodExport, together with maxExportedBytes.
const MaxExported = 64

// ExportResult is one page; More says that another follows.
type ExportResult struct {
	Containers []Exported `json:"containers,omitempty"`
	More       bool       `json:"more,omitempty"`
	Last       string     `json:"last,omitempty"` // the last id that was looked at
}
