package control

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// ProtocolVersion changes when a supervisor and a runner of different versions can no longer understand each other. A
// supervisor that adopts a runner of another one ends it.
const ProtocolVersion = 2

// Limits of a single container's description.
const (
	// MaxStrings bounds the bytes of arguments and environment together, as the engine does.
	MaxStrings = 1 << 20
	// MaxPorts bounds the listeners of one container.
	MaxPorts = 64
	// MaxMounts bounds the directories and files a guest sees: each costs descriptors.
	MaxMounts = 64
	// MaxPage bounds the statuses in one answer to MethodList.
	MaxPage = 512
)

// Methods that a runner serves.
const (
	MethodCreate   = "create"   // CreateParams → Status
	MethodStart    = "start"    // StartParams → StartResult
	MethodStop     = "stop"     // StopParams → Status, once the container has ended
	MethodRemove   = "remove"   // Target → nothing
	MethodList     = "list"     // ListParams → ListResult
	MethodUpdate   = "update"   // UpdateParams → Status
	MethodReopen   = "reopen"   // Target → nothing
	MethodStats    = "stats"    // StatsParams → StatsResult
	MethodPing     = "ping"     // nothing → ProcessStats
	MethodShared   = "shared"   // ListParams → SharedResult: who listens at the shared sockets
	MethodListen   = "listen"   // Target → nothing: a container that listens at the shared sockets listens at its own, too
	MethodSource   = "source"   // Target, and a descriptor → nothing: where the container's sockets are made from now on
	MethodExport   = "export"   // ListParams → ExportResult: how another runner would have to make the containers
	MethodShutdown = "shutdown" // ShutdownParams → nothing; the process ends afterwards
)

// EventStatus tells that a container has changed by itself; its params are a Status.
const EventStatus = "status"

// EventHello is the first frame of a connection; its params are a Hello.
const EventHello = "hello"

// State is where a container is in its life. It only ever moves forward.
type State string

// States of a container, in order.
const (
	StateCreated State = "created"
	StateRunning State = "running"
	StateExited  State = "exited"
)

// Rank orders states: a status never replaces one of a higher rank.
func (s State) Rank() int {
	switch s {
	case StateCreated:
		return 1
	case StateRunning:
		return 2
	case StateExited:
		return 3
	}
	return 0
}

// Reasons of an exit, as the CRI's users know them.
const (
	ReasonCompleted  = "Completed"
	ReasonError      = "Error"
	ReasonOOMKilled  = "OOMKilled"
	ReasonStartError = "StartError"
)

// Exit codes that no guest chose. They follow the shell's convention of 128 and a signal's number.
const (
	ExitStartError = 128 // the container could not be started
	ExitTrap       = 134 // the guest trapped, as a process that aborts
	ExitKilled     = 137 // ended by the runtime: stop, wall time, memory, or a runner that died
)

// Hello is what a runner tells of itself.
type Hello struct {
	Protocol  int    `json:"protocol"`
	Version   string `json:"version"`
	Namespace string `json:"namespace"`
	PID       int    `json:"pid"`
	// Confinement says what the process has taken from itself: for each measure "on: " or "off: " and the particulars.
	Confinement map[string]string `json:"confinement,omitempty"`
}

// Mount is a host's directory or file that the guest sees at a path of its own.
type Mount struct {
	HostPath  string `json:"hostPath"`
	GuestPath string `json:"guestPath"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}

// DNS is how a guest's names are looked up, in the words of egress.ParseDNS. Domain's names may lead to Networks though
// these are the host's own.
type DNS struct {
	Servers  []string `json:"servers"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
	Domain   string   `json:"domain,omitempty"`
	Networks []string `json:"networks,omitempty"`
}

// CreateParams describes a container. The runner reads the module itself and holds it to Digest.
type CreateParams struct {
	ID          string   `json:"id"`
	SandboxID   string   `json:"sandboxID"`
	ModulePath  string   `json:"modulePath"`
	Digest      string   `json:"digest"` // sha256:<hex> of the module's bytes
	Args        []string `json:"args,omitempty"`
	Env         []string `json:"env,omitempty"`
	Mounts      []Mount  `json:"mounts,omitempty"`
	Hostname    string   `json:"hostname,omitempty"`    // told to commands; in an HTTP guest it would make each replica another
	Address     string   `json:"address,omitempty"`     // where an HTTP guest listens; several, one a family, with commas between
	Elsewhere   bool     `json:"elsewhere,omitempty"`   // it is in another network: listeners and sockets come from the supervisor
	Ports       []uint16 `json:"ports,omitempty"`       // on which ports
	OwnPorts    bool     `json:"ownPorts,omitempty"`    // the ports are this container's and not just its pod's
	MemoryLimit uint64   `json:"memoryLimit,omitempty"` // bytes of linear memory an instance; 0 is the engine's own
	LogPath     string   `json:"logPath,omitempty"`     // empty: what the guest writes is dropped
	Stdin       bool     `json:"stdin,omitempty"`       // a command reads what those who attach write; else nothing
	StdinOnce   bool     `json:"stdinOnce,omitempty"`   // its input ends with the first of them
	DNS         *DNS     `json:"dns,omitempty"`         // nil: names are looked up as the host does
	Limits
}

// Validate holds the description to its limits.
func (p *CreateParams) Validate() error {
	switch {
	case p.ID == "" || p.ModulePath == "" || p.Digest == "":
		return Errorf(CodeInvalid, "id, modulePath and digest are required")
	case len(p.Ports) > MaxPorts:
		return Errorf(CodeInvalid, "%d ports; at most %d are served", len(p.Ports), MaxPorts)
	case len(p.Mounts) > MaxMounts:
		return Errorf(CodeInvalid, "%d mounts; at most %d are served", len(p.Mounts), MaxMounts)
	}
	if err := p.Limits.Validate(); err != nil {
		return err
	}
	size := p.Size()
	if size > MaxStrings {
		return Errorf(CodeInvalid, "%d bytes of arguments and environment; at most %d are passed", size, MaxStrings)
	}
	for _, m := range p.Mounts {
		if !path.IsAbs(m.HostPath) || !path.IsAbs(m.GuestPath) {
			return Errorf(CodeInvalid, "mount %s at %s: both paths must be absolute", m.HostPath, m.GuestPath)
		}
	}
	if _, err := p.Addresses(); err != nil {
		return Errorf(CodeInvalid, "%v", err)
	}
	return nil
}

// Addresses are those of Address.
func (p *CreateParams) Addresses() ([]netip.Addr, error) {
	if p.Address == "" {
		return nil, nil
	}
	return ParseAddresses(p.Address)
}

// ParseAddresses reads a pod's addresses: one, or one of each family with a comma between.
func ParseAddresses(text string) (out []netip.Addr, err error) {
	for word := range strings.SplitSeq(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("address %q is no IP address", word)
		}
		addr = addr.Unmap()
		if len(out) > 0 && (len(out) > 1 || out[0].Is4() == addr.Is4()) {
			return nil, fmt.Errorf("addresses %q: a pod has one of each family at most", text)
		}
		out = append(out, addr)
	}
	return out, nil
}

// defaultPort is where a guest listens when its pod names no port.
const defaultPort = 8080

// ListenPorts are where a guest that serves listens, in order, by what was declared.
func ListenPorts(declared []uint16) []uint16 {
	if len(declared) == 0 {
		return []uint16{defaultPort}
	}
	ports := slices.Clone(declared)
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Size is that of the arguments and the environment, in bytes.
func (p *CreateParams) Size() int {
	size := 0
	for _, list := range [][]string{p.Args, p.Env} {
		for _, s := range list {
			size += len(s) + 1
		}
	}
	return size
}

// Target names a container.
type Target struct {
	ID string `json:"id"`
}

// StopParams asks to end a container: gracefully for Grace, then at once.
type StopParams struct {
	ID    string        `json:"id"`
	Grace time.Duration `json:"grace"`
}

// UpdateParams changes the limits of a container.
type UpdateParams struct {
	ID          string `json:"id"`
	MemoryLimit uint64 `json:"memoryLimit"`
}

// ShutdownParams asks to end all containers and then the process.
type ShutdownParams struct {
	Grace time.Duration `json:"grace"`
}

// ListParams asks for the containers whose ids follow After, in the order of ids.
type ListParams struct {
	After string `json:"after,omitempty"`
}

// ListResult is one page; More says that another follows.
type ListResult struct {
	Containers []Status `json:"containers,omitempty"`
	More       bool     `json:"more,omitempty"`
}

// Status is what a runner knows of a container. Times are Unix nanoseconds.
type Status struct {
	ID              string `json:"id"`
	SandboxID       string `json:"sandboxID"`
	Revision        uint64 `json:"revision"` // grows with every change: of two statuses the one with more is newer
	State           State  `json:"state"`
	Kind            string `json:"kind"`
	CreatedAt       int64  `json:"createdAt"`
	StartedAt       int64  `json:"startedAt,omitempty"`
	FinishedAt      int64  `json:"finishedAt,omitempty"`
	ExitCode        int32  `json:"exitCode,omitempty"`
	Reason          string `json:"reason,omitempty"`
	Message         string `json:"message,omitempty"`
	MemoryLimit     uint64 `json:"memoryLimit,omitempty"`
	CompileMicros   int64  `json:"compileMicros"`
	CompileCached   bool   `json:"compileCached"`
	ColdStartMicros int64  `json:"coldStartMicros,omitempty"`
	Guest
}

// Code says what kind of error a call ended in.
type Code string

// Codes of errors.
const (
	CodeNotFound     Code = "not_found"
	CodeExists       Code = "already_exists"
	CodeInvalid      Code = "invalid"
	CodePrecondition Code = "failed_precondition"
	CodeBusy         Code = "busy"
	CodeStart        Code = "start_failed"
	CodeInternal     Code = "internal"
	// CodeNotCompiled says that the cache has no machine code of the module. Runners only read it: it is the supervisor's
	// to have it filled, and to ask again.
	CodeNotCompiled Code = "not_compiled"
)

// Error is an error that travels.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an error of a code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
