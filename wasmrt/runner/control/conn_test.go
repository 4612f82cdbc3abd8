package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type handlerFunc func(ctx context.Context, method string, params json.RawMessage) (any, error)

func (h handlerFunc) Handle(ctx context.Context, method string, params json.RawMessage) (any, error) {
	return h(ctx, method, params)
}

func echo(_ context.Context, method string, params json.RawMessage) (any, error) {
	return map[string]any{"method": method, "params": params}, nil
}

type pair struct {
	client *Client
	hub    *Hub
	served chan error
	stop   context.CancelFunc
}

// connect joins a client and a served connection over a unix socket.
func connect(t *testing.T, h handlerFunc, onEvent func(string, json.RawMessage)) *pair {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &pair{hub: NewHub(), served: make(chan error, 1), stop: cancel}
	go func() { p.served <- ServeConn(ctx, near, Hello{Protocol: ProtocolVersion, PID: 7}, p.hub, h) }()
	if onEvent == nil {
		onEvent = func(string, json.RawMessage) {}
	}
	p.client, err = NewClient(ctx, far, onEvent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.client.Close()
		cancel()
		<-p.served
	})
	return p
}

func TestCallsAreMatchedToTheirAnswers(t *testing.T) {
	p := connect(t, echo, nil)
	if got := p.client.Hello().PID; got != 7 {
		t.Errorf("hello of pid %d", got)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var out struct{ Params Target }
			want := fmt.Sprint(i)
			if err := p.client.Call(context.Background(), "x", Target{ID: want}, &out); err != nil || out.Params.ID != want {
				t.Errorf("call %s answered %q, %v", want, out.Params.ID, err)
			}
		})
	}
	wg.Wait()
}

func TestErrorsKeepTheirCode(t *testing.T) {
	p := connect(t, func(_ context.Context, method string, _ json.RawMessage) (any, error) {
		if method == "known" {
			return nil, fmt.Errorf("wrapped: %w", Errorf(CodeExists, "there is one"))
		}
		return nil, errors.New("plain")
	}, nil)
	for method, want := range map[string]Code{"known": CodeExists, "other": CodeInternal} {
		var e *Error
		if err := p.client.Call(context.Background(), method, nil, nil); !errors.As(err, &e) || e.Code != want {
			t.Errorf("%s: %v, want code %s", method, err, want)
		}
	}
}

func TestAnswerTooLargeFailsItsCallOnly(t *testing.T) {
	p := connect(t, func(_ context.Context, method string, _ json.RawMessage) (any, error) {
		if method == "large" {
			return strings.Repeat("x", MaxFrame), nil
		}
		return "ok", nil
	}, nil)
	if err := p.client.Call(context.Background(), "large", nil, nil); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("large answer: %v", err)
	}
	if err := p.client.Call(context.Background(), "small", nil, nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	p := connect(t, func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := p.client.Call(ctx, "x", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Call = %v", err)
	}
	p.stop()
}

func TestCallEndsWithTheConnection(t *testing.T) {
	started := make(chan struct{})
	p := connect(t, func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	failed := make(chan error, 1)
	go func() { failed <- p.client.Call(context.Background(), "x", nil, nil) }()
	<-started
	p.stop()
	<-p.client.Done()
	if err := <-failed; err == nil {
		t.Error("the call that was open answered no error")
	}
	if err := p.client.Call(context.Background(), "x", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a call afterwards: %v, want ErrClosed", err)
	}
	if p.client.Err() == nil {
		t.Error("Err is nil after the end")
	}
}

func TestEventsArriveInOrder(t *testing.T) {
	const n = 1000
	var got []string
	all := make(chan struct{})
	p := connect(t, echo, func(event string, params json.RawMessage) {
		var s Status
		if err := json.Unmarshal(params, &s); err != nil || event != EventStatus {
			t.Errorf("event %s: %v", event, err)
		}
		if got = append(got, s.ID); len(got) == n {
			close(all)
		}
	})
	for i := range n {
		if err := p.hub.Publish(EventStatus, Status{ID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	for i, id := range got {
		if id != fmt.Sprint(i) {
			t.Fatalf("event %d is of %s", i, id)
		}
	}
}

func TestSlowReaderLosesItsConnection(t *testing.T) {
	release := make(chan struct{})
	p := connect(t, echo, func(string, json.RawMessage) { <-release })
	padding := strings.Repeat("x", 1000) // so that the socket's buffers fill, too
	for range 3 * maxPendingEvents {
		if err := p.hub.Publish(EventStatus, Status{Message: padding}); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	<-p.client.Done()
	if n := p.hub.Connections(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}

func TestNewClientRefusesStrangers(t *testing.T) {
	for name, greeting := range map[string][]byte{
		"silence":       nil,
		"other event":   framed(`{"event":"status"}`),
		"noise":         []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"hello of text": framed(`{"event":"hello","params":"x"}`),
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			go func() { _, _ = near.Write(greeting) }()
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if _, err := NewClient(ctx, far, nil); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestServeConnRefusesFramesThatAreNoRequests(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- ServeConn(context.Background(), near, Hello{}, NewHub(), handlerFunc(echo)) }()
	if _, err := ReadFrame(far); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write(framed(`{"id":1,"result":{}}`)); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err == nil || !strings.Contains(err.Error(), "has no method") {
		t.Errorf("ServeConn = %v", err)
	}
}

func TestTooManyRequestsAreAnsweredBusy(t *testing.T) {
	release := make(chan struct{})
	p := connect(t, func(context.Context, string, json.RawMessage) (any, error) { <-release; return nil, nil }, nil)
	var wg sync.WaitGroup
	busy := make(chan struct{}, 2)
	for range MaxInFlight + 1 {
		wg.Go(func() {
			var e *Error
			if err := p.client.Call(context.Background(), "x", nil, nil); errors.As(err, &e) && e.Code == CodeBusy {
				busy <- struct{}{}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	<-busy
	close(release)
	wg.Wait()
	if len(busy) != 0 {
		t.Error("more than one request was refused")
	}
}

func TestCreateParamsValidate(t *testing.T) {
	good := func() CreateParams {
		return CreateParams{ID: "a", ModulePath: "/m.wasm", Digest: "sha256:00", Address: "127.42.0.1", Ports: []uint16{80}}
	}
	p := good()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*CreateParams){
		"no id":          func(p *CreateParams) { p.ID = "" },
		"no module":      func(p *CreateParams) { p.ModulePath = "" },
		"no digest":      func(p *CreateParams) { p.Digest = "" },
		"many ports":     func(p *CreateParams) { p.Ports = make([]uint16, MaxPorts+1) },
		"many mounts":    func(p *CreateParams) { p.Mounts = make([]Mount, MaxMounts+1) },
		"relative mount": func(p *CreateParams) { p.Mounts = []Mount{{HostPath: "/a", GuestPath: "b"}} },
		"long args":      func(p *CreateParams) { p.Args = []string{strings.Repeat("x", MaxStrings)} },
		"bad address":    func(p *CreateParams) { p.Address = "localhost" },
		"negative":       func(p *CreateParams) { p.WallTime = -1 },
	} {
		p := good()
		spoil(&p)
		var e *Error
		if err := p.Validate(); !errors.As(err, &e) || e.Code != CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
