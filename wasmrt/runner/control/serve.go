package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// MaxInFlight bounds the requests of one connection that wait for their answer. Stopping a deployment's pods leaves
	// as many waiting as it has pods. What exceeds it is answered CodeBusy, so that pings are always served.
	MaxInFlight = 8192
	// maxPendingEvents bounds the events that a connection has not taken yet; beyond it the connection is closed.
	maxPendingEvents = 4096
)

// Handler serves the requests of a connection. Handle may be called concurrently.
type Handler interface {
	Handle(ctx context.Context, method string, params json.RawMessage) (any, error)
}

// Hub hands events to the connections served with it.
type Hub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

type subscriber struct {
	events   chan *Frame
	overflow chan struct{}
}

// NewHub returns a hub without subscribers.
func NewHub() *Hub { return &Hub{subs: map[*subscriber]struct{}{}} }

// Publish hands the event to every connection. It does not block.
func (h *Hub) Publish(event string, params any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", event, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		select {
		case s.events <- &Frame{Event: event, Params: raw}:
		default:
			delete(h.subs, s)
			close(s.overflow)
		}
	}
	return nil
}

// Connections is the number of connections that get events.
func (h *Hub) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

func (h *Hub) subscribe() *subscriber {
	s := &subscriber{events: make(chan *Frame, maxPendingEvents), overflow: make(chan struct{})}
	h.mu.Lock()
	h.subs[s] = struct{}{}
	h.mu.Unlock()
	return s
}

func (h *Hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	delete(h.subs, s)
	h.mu.Unlock()
}

// server is one connection on the runner's side.
type server struct {
	conn    net.Conn
	handler Handler
	writeMu sync.Mutex
	slots   chan struct{}
	calls   sync.WaitGroup
}

// ServeConn greets the peer and serves it until it hangs up, ctx ends or it breaks the protocol. It owns the
// connection, and returns when no request of it runs any more. A request goes on when its connection is gone: what
// was asked for is done, and the next connection lists the outcome; only the end of ctx cuts it short.
func ServeConn(ctx context.Context, conn net.Conn, hello Hello, hub *Hub, handler Handler) error {
	s := &server{conn: conn, handler: handler, slots: make(chan struct{}, MaxInFlight)}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sub := hub.subscribe() // before the hello: what happens from now on is told
	raw, err := json.Marshal(hello)
	if err == nil {
		err = s.write(&Frame{Event: EventHello, Params: raw})
	}
	pumpDone, readDone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(pumpDone)
		s.pump(sub, readDone)
	}()
	if err == nil {
		err = s.read(ctx)
	}
	close(readDone)
	hub.unsubscribe(sub)
	_ = conn.Close()
	<-pumpDone
	s.calls.Wait()
	return err
}

// pump writes events until the connection's reader has ended.
func (s *server) pump(sub *subscriber, readDone <-chan struct{}) {
	for {
		select {
		case f := <-sub.events:
			if err := s.write(f); err != nil {
				return
			}
		case <-sub.overflow:
			_ = s.conn.Close()
			return
		case <-readDone:
			return
		}
	}
}

func (s *server) read(ctx context.Context) error {
	files := newFileReader(s.conn)
	defer files.close()
	r := bufio.NewReader(files)
	for {
		f, err := ReadFrame(r)
		if err == nil {
			f.files, err = files.take(f.Files)
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			return err
		}
		if f.Method == "" {
			CloseFiles(f.files)
			return fmt.Errorf("read request: frame %d has no method", f.ID)
		}
		select {
		case s.slots <- struct{}{}:
		default:
			CloseFiles(f.files)
			if err := s.write(&Frame{ID: f.ID, Error: Errorf(CodeBusy, "more than %d requests wait", MaxInFlight)}); err != nil {
				return err
			}
			continue
		}
		s.calls.Go(func() {
			defer func() { <-s.slots }()
			s.answer(ctx, f)
		})
	}
}

func (s *server) answer(ctx context.Context, f *Frame) {
	response := &Frame{ID: f.ID}
	if len(f.files) > 0 {
		ctx = context.WithValue(ctx, receivedKey{}, &received{files: f.files})
		defer func() { CloseFiles(TakeFiles(ctx)) }()
	}
	result, err := s.handler.Handle(ctx, f.Method, f.Params)
	if c, ok := result.(Carrier); ok {
		files := c.Carry()
		defer CloseFiles(files)
		if err == nil {
			response.Files, response.files = len(files), files
		}
	}
	if err == nil {
		response.Result, err = json.Marshal(result)
	}
	if err != nil {
		var known *Error
		if !errors.As(err, &known) {
			known = Errorf(CodeInternal, "%v", err)
		}
		response = &Frame{ID: f.ID, Error: known}
	}
	// A failed write has closed the connection, which the reader sees.
	_ = s.write(response)
}

func (s *server) write(f *Frame) error {
	buf, err := AppendFrame(nil, f)
	if err != nil && f.ID != 0 { // an answer too large is an error of that call, not of the connection
		f = &Frame{ID: f.ID, Error: Errorf(CodeInternal, "%v", err)}
		buf, err = AppendFrame(nil, f)
	}
	if err != nil {
		return err
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := writeFrame(s.conn, buf, f.files); err != nil {
		_ = s.conn.Close()
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}
