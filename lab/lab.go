package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/petrelrun/petrel/cgrouplock"
	"github.com/petrelrun/petrel/lab/machine"
)

// Lab is nodes on links, and processes on the nodes.
type Lab struct {
	cfg  Config
	lock *os.File
	held []*os.File // the control groups that all nodes' lie below

	fabric *machine.Switch
	nodes  []*Node

	mu     sync.Mutex
	state  State
	relays []*relay
	closed bool
}

// New makes a lab. It does no I/O.
func New(cfg Config) (*Lab, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure lab: %w", err)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	return &Lab{cfg: cfg}, nil
}

// Dir is the lab's directory.
func (l *Lab) Dir() string { return l.cfg.Dir }

// Open makes the links and the nodes. What an earlier lab left in the directory goes; its nodes' data stays. When it
// fails, all is as it was. ctx bounds the making alone.
func (l *Lab) Open(ctx context.Context) (err error) {
	if l.lock, err = lock(l.cfg.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := sweep(l.cfg.Dir); err != nil {
		return err
	}
	if err := l.begin(); err != nil {
		return err
	}
	if err := l.hold(); err != nil {
		return err
	}
	l.sweepOthers()
	if l.fabric, err = machine.NewSwitch(l.cfg.Links); err != nil {
		return err
	}
	l.cfg.Progress("links: " + strconv.Itoa(l.cfg.Links))
	l.nodes = make([]*Node, l.cfg.Nodes)
	group, ctx := errgroup.WithContext(ctx)
	for i := range l.nodes {
		group.Go(func() (err error) {
			l.nodes[i], err = l.boot(ctx, i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	l.cfg.Progress("nodes booted: " + strconv.Itoa(l.cfg.Nodes))
	return l.save()
}

// begin writes down where groups will be, before the first is made.
func (l *Lab) begin() error {
	groups, err := machine.GroupDirs(l.cfg.group())
	if err != nil {
		return err
	}
	started, err := machine.StartTime(os.Getpid())
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = State{PID: os.Getpid(), Started: started, Groups: groups}
	return l.state.write(l.cfg.Dir)
}

// hold makes the groups that all nodes' lie below.
func (l *Lab) hold() (err error) {
	l.held, err = machine.HoldGroups(l.state.Groups)
	return err
}

// sweepOthers removes the groups of labs that were killed, wherever their directories are.
func (l *Lab) sweepOthers() {
	for _, dir := range l.state.Groups {
		removed, err := cgrouplock.Sweep(filepath.Dir(dir), groupPrefix)
		for _, other := range removed {
			l.cfg.Progress("removed what another lab has left: " + other)
		}
		if err != nil { // theirs, and in nobody's way
			l.cfg.Progress(err.Error())
		}
	}
}

// boot makes the i-th node and plugs it in.
func (l *Lab) boot(ctx context.Context, i int) (*Node, error) {
	name := nodeName(i)
	dir := filepath.Join(l.cfg.Dir, name)
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return nil, fmt.Errorf("make node's directory: %w", err)
	}
	m, err := machine.Boot(ctx, machine.Config{
		Name: name, Group: filepath.Join(l.cfg.group(), name), Program: l.cfg.Program, Log: filepath.Join(dir, "init.log"),
	})
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, Dir: dir, Link: i % l.cfg.Links, machine: m, lab: l, processes: map[string]*process{}}
	n.Addresses = l.fabric.Links[n.Link].Host(i + 1)
	if err := l.fabric.Plug(m.Place, n.Link, n.Addresses); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return n, nil
}

// Nodes are the lab's nodes, in order.
func (l *Lab) Nodes() []*Node { return slices.Clone(l.nodes) }

// Node finds a node by its name.
func (l *Lab) Node(name string) (*Node, error) {
	for _, n := range l.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %q in this lab", name)
}

// ExecOutside starts a command on the router, which is the world outside of the cluster: in its network, all else is this
// process's. The caller must wait for it.
func (l *Lab) ExecOutside(cmd *exec.Cmd) error { return machine.StartIn(l.fabric.RouterNetns(), cmd) }

// State answers what lab.json says.
func (l *Lab) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// save writes lab.json anew. set, which may be left out, changes it first.
func (l *Lab) save(set ...func(*State)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	for _, f := range set {
		f(&l.state)
	}
	l.state.Router, l.state.Links = l.fabric.RouterNetns(), l.fabric.Links
	l.state.Nodes = nil
	for _, n := range l.nodes {
		l.state.Nodes = append(l.state.Nodes, n.state())
	}
	return l.state.write(l.cfg.Dir)
}

// Close ends everything and removes all but the directory. Processes get the time that Stop gives them.
func (l *Lab) Close(ctx context.Context) error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	relays := l.relays
	l.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, r := range relays {
		r.close()
	}
	var ending sync.WaitGroup
	failed := make([]error, len(l.nodes))
	for i, n := range l.nodes {
		if n != nil {
			ending.Go(func() { failed[i] = n.close(ctx) })
		}
	}
	ending.Wait()
	errs = append(errs, failed...)
	if l.fabric != nil {
		errs = append(errs, l.fabric.Close())
	}
	// Where anything is left, what says where it is stays too.
	errs = append(errs, sweep(l.cfg.Dir))
	for _, f := range append(l.held, l.lock) {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
