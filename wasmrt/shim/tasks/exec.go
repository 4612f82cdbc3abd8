package tasks

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	topics "github.com/petrelrun/petrel/wasmrt/shim/events"
	"github.com/petrelrun/petrel/wasmrt/shim/output"
)

const (
	// maxProcesses bounds those of a container that are not deleted: each probe is one, and is deleted at once.
	maxProcesses = 128
	// exitCannot is how a shell tells of a command that cannot be run.
	exitCannot = 126
	// deliverTime bounds how long a process waits for somebody to read what it has printed.
	deliverTime = 10 * time.Second
)

// process is a further run of a container's module, which containerd has asked for.
type process struct {
	id     string
	args   []string
	stdio  stdio
	cancel context.CancelFunc // ends it; nil until it is started

	mu     sync.Mutex
	phase  phase
	code   uint32
	at     time.Time
	exited chan struct{}
}

// Exec notes what is to be run beside a container's guest: an export of its module, or its command again.
func (s *Service) Exec(_ context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	t, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	var spec struct {
		Args     []string `json:"args"`
		Terminal bool     `json:"terminal"`
	}
	if err := json.Unmarshal(r.GetSpec().GetValue(), &spec); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "read process: %v", err)
	}
	switch {
	case r.ExecID == "" || len(spec.Args) == 0:
		return nil, status.Error(codes.InvalidArgument, "a process needs an id and arguments")
	case r.Terminal || spec.Terminal:
		return nil, status.Error(codes.InvalidArgument, noTerminal)
	case t.guestID == "" || t.now() != phaseRunning:
		return nil, status.Errorf(codes.FailedPrecondition, "task %s is no running guest", t.id)
	}
	p := &process{id: r.ExecID, args: spec.Args, stdio: stdio{r.Stdin, r.Stdout, r.Stderr}, exited: make(chan struct{})}
	if err := t.add(p); err != nil {
		return nil, err
	}
	s.cfg.Publish(topics.TaskExecAdded, &events.TaskExecAdded{ContainerID: t.id, ExecID: p.id})
	return &emptypb.Empty{}, nil
}

func (t *task) add(p *process) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.processes[p.id] != nil {
		return status.Errorf(codes.AlreadyExists, "process %s: already exists", p.id)
	}
	if len(t.processes) >= maxProcesses {
		return status.Errorf(codes.ResourceExhausted, "%d processes of a container are too many", maxProcesses)
	}
	if t.processes == nil {
		t.processes = map[string]*process{}
	}
	t.processes[p.id] = p
	return nil
}

// process finds a further run of a task's module.
func (t *task) process(id string) (*process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.processes[id]; p != nil {
		return p, nil
	}
	return nil, status.Errorf(codes.NotFound, "process %s of container %s: not found", id, t.id)
}

// startProcess begins what Exec has noted.
func (s *Service) startProcess(t *task, id string) (*taskapi.StartResponse, error) {
	p, err := t.process(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	p.mu.Lock()
	begun := p.phase != phaseCreated
	if !begun {
		p.phase, p.cancel = phaseRunning, cancel
	}
	p.mu.Unlock()
	if begun {
		cancel()
		return nil, status.Errorf(codes.FailedPrecondition, "process %s was started before", id)
	}
	s.cfg.Publish(topics.TaskExecStarted, &events.TaskExecStarted{ContainerID: t.id, ExecID: p.id, Pid: t.pid})
	s.wg.Go(func() {
		defer cancel()
		s.runProcess(ctx, t, p)
	})
	return &taskapi.StartResponse{Pid: t.pid}, nil
}

// runProcess runs it to its end. What cannot be run says why where its errors would come.
func (s *Service) runProcess(ctx context.Context, t *task, p *process) {
	var stdout, stderr []byte
	code := uint32(exitCannot)
	r, err := s.cfg.Runtime.ExecSync(ctx, &runtimev1.ExecSyncRequest{ContainerId: t.guestID, Cmd: p.args})
	switch {
	case err == nil:
		stdout, stderr, code = r.GetStdout(), r.GetStderr(), uint32(r.GetExitCode())
	case ctx.Err() != nil:
		code = exitKilled
	default:
		stderr = []byte(status.Convert(err).Message() + "\n")
	}
	delivering, cancel := context.WithTimeout(s.ctx, deliverTime)
	defer cancel()
	for _, stream := range []struct {
		to      string
		content []byte
	}{{p.stdio.out, stdout}, {p.stdio.err, stderr}} {
		if err := output.Write(delivering, stream.to, stream.content); err != nil {
			s.cfg.Logger.Warn("output of a process not read", "task", t.id, "process", p.id, "error", err)
		}
	}
	s.endProcess(t, p, code)
}

func (s *Service) endProcess(t *task, p *process, code uint32) {
	p.mu.Lock()
	p.phase, p.code, p.at = phaseStopped, code, s.cfg.Now()
	at := timestamppb.New(p.at)
	p.mu.Unlock()
	s.cfg.Publish(topics.TaskExit, &events.TaskExit{ContainerID: t.id, ID: p.id, Pid: t.pid, ExitStatus: code, ExitedAt: at})
	close(p.exited)
}

func (p *process) exit() (now phase, code uint32, at *timestamppb.Timestamp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase == phaseStopped {
		at = timestamppb.New(p.at)
	}
	return p.phase, p.code, at
}

// killProcess ends one by any signal that ends processes: it sees none of them.
func (s *Service) killProcess(p *process, end bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.phase == phaseStopped:
		return status.Errorf(codes.NotFound, "process %s: process already finished", p.id)
	case end && p.cancel != nil:
		p.cancel()
	}
	return nil
}

// deleteProcess forgets one that has ended or was not started.
func (t *task) deleteProcess(id string) (*taskapi.DeleteResponse, error) {
	p, err := t.process(id)
	if err != nil {
		return nil, err
	}
	now, code, at := p.exit()
	if now == phaseRunning {
		return nil, status.Errorf(codes.FailedPrecondition, "process %s is running: kill it first", id)
	}
	t.mu.Lock()
	delete(t.processes, id)
	t.mu.Unlock()
	return &taskapi.DeleteResponse{Pid: t.pid, ExitStatus: code, ExitedAt: at}, nil
}
