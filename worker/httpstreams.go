package worker

import (
	"context"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/streaming"
)

// Streams is what the worker needs of a runtime to serve exec, attach and port-forward.
type Streams interface {
	Exec(ctx context.Context, r *runtimev1.ExecRequest) (cri.Stream, error)
	Attach(ctx context.Context, r *runtimev1.AttachRequest) (cri.Stream, error)
	PortForward(ctx context.Context, r *runtimev1.PortForwardRequest) (cri.Stream, error)
}

// exec runs a further command in a container, as the API server's pods/exec asks for it.
func (s *nodeServer) exec(w http.ResponseWriter, r *http.Request) {
	command, err := streaming.ParseCommand(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.command(w, r, func(ctx context.Context, id string, o streaming.Options) (cri.Stream, error) {
		return s.m.rt.Exec(ctx, &runtimev1.ExecRequest{
			ContainerId: id, Cmd: command, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY,
		})
	})
}

// attach connects to a container's own process.
func (s *nodeServer) attach(w http.ResponseWriter, r *http.Request) {
	s.command(w, r, func(ctx context.Context, id string, o streaming.Options) (cri.Stream, error) {
		return s.m.rt.Attach(ctx, &runtimev1.AttachRequest{ContainerId: id, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
	})
}

func (s *nodeServer) command(w http.ResponseWriter, r *http.Request, open func(context.Context, string, streaming.Options) (cri.Stream, error)) {
	o, err := streaming.ParseOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.relay.Command(w, r, o, func(ctx context.Context) (streaming.Target, error) {
		a, err := s.pod(r)
		if err != nil {
			return streaming.Target{}, err
		}
		id, err := a.runningInstance(r.PathValue("container"))
		if err != nil {
			return streaming.Target{}, err
		}
		stream, err := open(ctx, id, o)
		return streamTarget(stream, err)
	})
}

// portForward connects to a pod's ports.
func (s *nodeServer) portForward(w http.ResponseWriter, r *http.Request) {
	ports, err := streaming.ParsePorts(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.relay.PortForward(w, r, func(ctx context.Context) (streaming.Target, error) {
		a, err := s.pod(r)
		if err != nil {
			return streaming.Target{}, err
		}
		id, err := a.readySandbox()
		if err != nil {
			return streaming.Target{}, err
		}
		stream, err := s.m.rt.PortForward(ctx, &runtimev1.PortForwardRequest{PodSandboxId: id, Port: ports})
		return streamTarget(stream, err)
	})
}

// pod finds the pod that a request names.
func (s *nodeServer) pod(r *http.Request) (*actor, error) {
	a := s.m.named(r.PathValue("namespace"), r.PathValue("pod"))
	if a == nil {
		return nil, &streaming.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("pod %q is not on this node", r.PathValue("pod"))}
	}
	return a, nil
}

// runningInstance is the running instance of a container.
func (a *actor) runningInstance(name string) (string, error) {
	object := a.snapshot().pod
	if container(object, name) == nil {
		return "", &streaming.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("container %q is not in pod %q", name, object.Name)}
	}
	if i, ok := a.instance(name); ok && i.state == pod.Running {
		return i.id, nil
	}
	return "", &streaming.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("container %q in pod %q is not running", name, object.Name)}
}

// readySandbox is the sandbox in which the pod runs.
func (a *actor) readySandbox() (string, error) {
	shown := a.snapshot()
	for _, b := range shown.sandboxes {
		if b.ready {
			return b.id, nil
		}
	}
	return "", &streaming.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("pod %q is not running", shown.pod.Name)}
}

// streamTarget is what a runtime answered. Its refusals are the client's to read.
func streamTarget(stream cri.Stream, err error) (streaming.Target, error) {
	if err == nil {
		return streaming.Target{URL: stream.URL, Dial: stream.Dial}, nil
	}
	refusals := map[codes.Code]int{
		codes.NotFound: http.StatusNotFound, codes.InvalidArgument: http.StatusBadRequest, codes.FailedPrecondition: http.StatusBadRequest,
		codes.Unimplemented: http.StatusBadRequest, codes.ResourceExhausted: http.StatusTooManyRequests, codes.Unavailable: http.StatusServiceUnavailable,
	}
	if code, ok := refusals[cri.Code(err)]; ok {
		return streaming.Target{}, &streaming.Error{Status: code, Message: err.Error()}
	}
	return streaming.Target{}, err
}
