package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Target is where a runtime serves the streams of one request.
type Target struct {
	URL string
	// Dial connects to the URL's host; nil: as everything else does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Relay carries streams. Its methods are http.Handlers but for the target.
type Relay struct {
	log      *slog.Logger
	places   chan struct{}
	sessions sync.WaitGroup
}

// NewRelay makes a relay.
func NewRelay(log *slog.Logger) *Relay {
	return &Relay{log: log, places: make(chan struct{}, MaxSessions)}
}

// Wait waits for the sessions to end, which they do when the context of their requests ends.
func (y *Relay) Wait() { y.sessions.Wait() }

// Open prepares the target of one request. An *Error says which status a failure has; others are 500.
type Open func(ctx context.Context) (Target, error)

// Command serves an exec or an attach.
func (y *Relay) Command(w http.ResponseWriter, r *http.Request, o Options, open Open) {
	y.serve(w, r, open, func(t *target) error {
		if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
			return y.translate(w, r, o, t)
		}
		return y.pass(w, r, t)
	})
}

// PortForward serves connections to a pod's ports.
func (y *Relay) PortForward(w http.ResponseWriter, r *http.Request, open Open) {
	y.serve(w, r, open, func(t *target) error {
		if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
			return y.tunnel(w, r, t)
		}
		return y.pass(w, r, t)
	})
}

// serve does what all sessions have in common. carry answers an error as long as nothing was answered to the client.
func (y *Relay) serve(w http.ResponseWriter, r *http.Request, open Open, carry func(*target) error) {
	if !IsUpgrade(r) {
		refuse(w, &Error{http.StatusBadRequest, "this is a stream: the request has to ask for an upgrade to SPDY or WebSocket"})
		return
	}
	select {
	case y.places <- struct{}{}:
	default:
		refuse(w, &Error{http.StatusTooManyRequests, fmt.Sprintf("the node carries as many streams as it may (%d)", MaxSessions)})
		return
	}
	y.sessions.Add(1)
	defer func() {
		<-y.places
		y.sessions.Done()
	}()
	opened, err := open(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	t, err := newTarget(opened)
	if err == nil {
		defer t.transport.CloseIdleConnections()
		err = carry(t)
	}
	if err != nil && r.Context().Err() == nil {
		y.log.Debug("stream was refused", "path", r.URL.Path, "error", err)
		refuse(w, err)
	}
}

// Error is a refusal with its HTTP status.
type Error struct {
	Status  int
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var known *Error
	if errors.As(err, &known) {
		status = known.Status
	}
	http.Error(w, err.Error(), status)
}

// target is a Target that requests can be sent to.
type target struct {
	url       *url.URL
	transport *http.Transport
}

func newTarget(t Target) (*target, error) {
	at, err := url.Parse(t.URL)
	if err != nil {
		return nil, fmt.Errorf("read the runtime's stream URL: %w", err)
	}
	if at.Scheme != "http" || at.Host == "" {
		return nil, fmt.Errorf("the runtime's stream URL %s://%s: want http and a host", at.Scheme, at.Host)
	}
	return &target{url: at, transport: &http.Transport{
		DialContext: t.Dial, DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: openTimeout,
	}}, nil
}

// during is a transport whose connections end with ctx: the SPDY library waits for an answer for as long as it takes.
func (t *target) during(ctx context.Context) *http.Transport {
	dial := t.transport.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &http.Transport{DialContext: func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(dialing, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}}
}

// refusal is what the runtime's server said instead of upgrading.
func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	return fmt.Errorf("the runtime's stream server answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
}
