package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/lab/machine"
)

// State is lab.json: all that another process needs to look into a lab, to run commands in it, and to remove it.
type State struct {
	// PID is the lab's own process, and Started when that was started.
	PID     int    `json:"pid"`
	Started string `json:"started"`
	// Groups are the directories of the control groups that all nodes' lie below.
	Groups []string `json:"groups"`
	// Router is the network namespace that joins the links and stands for the world outside.
	Router string         `json:"router,omitempty"`
	Links  []machine.Link `json:"links,omitempty"`
	Nodes  []NodeState    `json:"nodes,omitempty"`
	// API is where a relay takes clients of this machine to the cluster's API, Gateway the same for apps, and Kubeconfig
	// the file that says how to be let in.
	API        string `json:"api,omitempty"`
	Gateway    string `json:"gateway,omitempty"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
}

// NodeState is one node.
type NodeState struct {
	Name      string       `json:"name"`
	Link      int          `json:"link"` // counted from 1
	Addresses []netip.Addr `json:"addresses"`
	machine.Place
	Processes []ProcessState `json:"processes"`
}

// ProcessState is a process that the lab started on a node.
type ProcessState struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"` // as the lab's host counts
	Running bool   `json:"running"`
	Log     string `json:"log"`
}

const (
	stateFile = "lab.json"
	lockFile  = "lock"
	filePerm  = 0o600
	// dirPerm lets runners, which have users of their own, pass through; nobody else can list what is there.
	dirPerm = 0o711
)

// Read reads the state of the lab in a directory; errors.Is(err, fs.ErrNotExist) where there is none.
func Read(dir string) (*State, error) {
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("read lab: %w", err)
	}
	s := &State{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("read lab: %s: %w", stateFile, err)
	}
	return s, nil
}

func (s *State) write(dir string) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode lab: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	if err := os.WriteFile(path+".tmp", append(raw, '\n'), filePerm); err != nil {
		return fmt.Errorf("write lab: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

// Node finds a node by its name.
func (s *State) Node(name string) (*NodeState, error) {
	i := slices.IndexFunc(s.Nodes, func(n NodeState) bool { return n.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no node %q in this lab", name)
	}
	return &s.Nodes[i], nil
}

// Alive tells whether the lab's own process lives, without which its nodes have ended.
func (s *State) Alive() bool {
	started, err := machine.StartTime(s.PID)
	return err == nil && started == s.Started
}

// lock makes the directory one lab's alone. The kernel drops it with the process, however that ends.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return nil, fmt.Errorf("make lab directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, filePerm)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lab directory %s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock lab directory: %w", err)
	}
	return f, nil
}

// ErrInUse says that a lab is running in the directory.
var ErrInUse = errors.New("a lab is running there")

// sweep removes what a lab that is no more has left: control groups, and whatever should still be in them.
func sweep(dir string) error {
	s, err := Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := machine.Sweep(s.Groups...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, stateFile))
}
