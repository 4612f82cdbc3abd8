package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/lab/machine"
)

// stopLimit is what a process has to end after SIGTERM before it is killed.
const stopLimit = 30 * time.Second

// Node is one machine of a lab.
type Node struct {
	Name string
	// Dir is where its state and logs are.
	Dir string
	// Link is the number of its link, counted from 0, and Addresses are the node's there, one of each family.
	Link      int
	Addresses []netip.Addr

	machine *machine.Machine
	lab     *Lab

	mu        sync.Mutex
	order     []string // names of processes, as they were first started
	processes map[string]*process
}

// process is one that the lab started.
type process struct {
	name  string
	path  string
	args  []string
	log   string
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{} // closed when it is reaped; err is set then
	err   error
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// LogPath is where a process of the node writes.
func (n *Node) LogPath(process string) string { return filepath.Join(n.Dir, process+".log") }

// Start starts a program on the node under a name, its output in LogPath(name). After it has ended, Restart starts it
// with the same arguments.
func (n *Node) Start(name, path string, args ...string) error {
	n.mu.Lock()
	if p := n.processes[name]; p != nil && p.running() {
		n.mu.Unlock()
		return fmt.Errorf("start %s on %s: it is running", name, n.Name)
	}
	p, err := n.launch(name, path, args)
	if err == nil {
		if n.processes[name] == nil {
			n.order = append(n.order, name)
		}
		n.processes[name] = p
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start %s on %s: %w", name, n.Name, err)
	}
	return n.lab.save()
}

func (n *Node) launch(name, path string, args []string) (*process, error) {
	p := &process{name: name, path: path, args: args, log: n.LogPath(name), began: time.Now(), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, filePerm)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	p.cmd = &exec.Cmd{Path: path, Args: append([]string{filepath.Base(path)}, args...), Stdout: log, Stderr: log, Dir: n.Dir}
	// A session of its own: the terminal's Ctrl-C is for the lab, which ends its parts in order.
	if err := n.machine.Start(p.cmd, &syscall.SysProcAttr{Setsid: true}); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which the machine's end ends at the latest
		p.err = p.cmd.Wait()
		close(p.ended)
		_ = n.lab.save()
	}()
	return p, nil
}

// Restart starts a process that has ended, or was never up again after a kill, with the arguments that it had.
func (n *Node) Restart(name string) error {
	p, err := n.process(name)
	if err != nil {
		return err
	}
	return n.Start(name, p.path, p.args...)
}

func (n *Node) process(name string) (*process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.processes[name]
	if p == nil {
		return nil, fmt.Errorf("no process %q was started on %s", name, n.Name)
	}
	return p, nil
}

// Ended answers a channel that is closed when the process has ended.
func (n *Node) Ended(name string) (<-chan struct{}, error) {
	p, err := n.process(name)
	if err != nil {
		return nil, err
	}
	return p.ended, nil
}

// Kill ends a process of the lab's by SIGKILL and waits for its end. What it started goes on.
func (n *Node) Kill(ctx context.Context, name string) error { return n.end(ctx, name, unix.SIGKILL) }

// Stop ends a process by SIGTERM, or, where it outlives its time, by SIGKILL, which is an error.
func (n *Node) Stop(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	err := n.end(ctx, name, unix.SIGTERM)
	if ctx.Err() != nil {
		return errors.Join(err, n.Kill(context.WithoutCancel(ctx), name))
	}
	return err
}

func (n *Node) end(ctx context.Context, name string, signal os.Signal) error {
	p, err := n.process(name)
	if err != nil {
		return err
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s on %s: %w", name, n.Name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end %s on %s: it goes on after %v: %w", name, n.Name, signal, context.Cause(ctx))
	}
}

// KillAll is the node's power cut: every process ends by SIGKILL, runners too. The network stays plugged in.
func (n *Node) KillAll(ctx context.Context) error {
	for { // one may start another while they are being killed
		killed, err := n.machine.Kill(func(machine.Process) bool { return true })
		if err != nil || killed == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill %s: %w", n.Name, context.Cause(ctx))
		case <-time.After(killPause):
		}
	}
}

// killPause lets killed processes go before they are looked for again.
const killPause = 10 * time.Millisecond

// KillMatching ends by SIGKILL the node's processes whose arguments match, and answers how many there were.
func (n *Node) KillMatching(match func(args []string) bool) (int, error) {
	return n.machine.Kill(func(p machine.Process) bool { return match(p.Args) })
}

// KillProcess ends one of the node's processes by SIGKILL; false where it has ended by itself.
func (n *Node) KillProcess(victim machine.Process) (bool, error) {
	killed, err := n.machine.Kill(func(p machine.Process) bool { return p.PID == victim.PID && slices.Equal(p.Args, victim.Args) })
	return killed > 0, err
}

// Processes lists everything that runs on the node.
func (n *Node) Processes() []machine.Process { return n.machine.Processes() }

// Exec starts a command on the node. The caller must wait for it, or the node cannot end. Its standard streams are the caller's to set.
func (n *Node) Exec(cmd *exec.Cmd) error { return n.machine.Start(cmd, nil) }

// Dial connects to a TCP address as a process on the node would.
func (n *Node) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return n.machine.Dial(ctx, to)
}

func (n *Node) state() NodeState {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := NodeState{Name: n.Name, Link: n.Link + 1, Addresses: n.Addresses, Place: n.machine.Place, Processes: []ProcessState{}}
	for _, name := range n.order {
		p := n.processes[name]
		s.Processes = append(s.Processes, ProcessState{Name: name, PID: p.cmd.Process.Pid, Running: p.running(), Log: p.log})
	}
	return s
}

// close stops the processes, the last one first, and then the machine.
func (n *Node) close(ctx context.Context) error {
	n.mu.Lock()
	order := slices.Clone(n.order)
	n.mu.Unlock()
	var errs []error
	for _, name := range slices.Backward(order) {
		errs = append(errs, n.Stop(ctx, name))
	}
	errs = append(errs, n.machine.Stop())
	for _, name := range order { // their ends are taken note of before the lab's is told
		if p, err := n.process(name); err == nil {
			<-p.ended
		}
	}
	return errors.Join(errs...)
}
