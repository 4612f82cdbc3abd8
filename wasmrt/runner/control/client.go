package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// writeTimeout bounds the write of one frame: a peer that takes nothing for so long is gone in all but name.
const writeTimeout = 10 * time.Second

// ErrClosed is what calls answer whose connection has ended.
var ErrClosed = errors.New("connection to the runner is closed")

// Client is the supervisor's end of a connection. It is safe for concurrent use.
type Client struct {
	conn    net.Conn
	hello   Hello
	onEvent func(event string, params json.RawMessage)

	writeMu sync.Mutex

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan *Frame
	err     error
	broken  chan struct{} // closed when the connection has ended
	done    chan struct{} // closed when all events of it have been told

	events eventQueue
}

// maxQueuedEvents bounds the events that were read and not told. A client that falls behind further ends the connection:
// with the next one it is to list anew.
const maxQueuedEvents = 1 << 16

// eventQueue lets the reader go on while events are told: what tells them may take its time, and answers come behind them.
type eventQueue struct {
	mu     sync.Mutex
	list   []*Frame
	more   chan struct{} // holds one when the list may have grown
	closed bool
}

func (q *eventQueue) put(f *Frame) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) >= maxQueuedEvents {
		return false
	}
	q.list = append(q.list, f)
	q.kick()
	return true
}

func (q *eventQueue) kick() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *eventQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.kick()
}

// take answers what there is, and whether nothing will follow.
func (q *eventQueue) take() (list []*Frame, last bool) {
	<-q.more
	q.mu.Lock()
	defer q.mu.Unlock()
	list, q.list = q.list, nil
	return list, q.closed
}

// NewClient takes over the connection, waits for the runner's hello as long as ctx allows, and reads from then on.
// onEvent is called for each event, in order, from a goroutine of its own; answers to calls do not wait for it.
func NewClient(ctx context.Context, conn net.Conn, onEvent func(event string, params json.RawMessage)) (*Client, error) {
	c := &Client{conn: conn, onEvent: onEvent, pending: map[uint64]chan *Frame{}, broken: make(chan struct{}), done: make(chan struct{}),
		events: eventQueue{more: make(chan struct{}, 1)}}
	files := newFileReader(conn)
	r := bufio.NewReader(files)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	f, err := ReadFrame(r)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && f.Event != EventHello {
		err = fmt.Errorf("first frame is %q instead of the hello", f.Event)
	}
	if err == nil {
		err = json.Unmarshal(f.Params, &c.hello)
	}
	if err != nil {
		_ = conn.Close()
		files.close()
		return nil, fmt.Errorf("greet runner: %w", err)
	}
	go c.read(r, files)
	go c.tell()
	return c, nil
}

// Hello is what the runner told of itself.
func (c *Client) Hello() Hello { return c.hello }

// Done is closed when the connection has ended and no further event will come.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection, and with it every call that waits. It returns when the reader has ended.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Call sends a request and waits for its response, the end of the connection or of ctx. A nil result drops the answer.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	files, err := c.Exchange(ctx, method, params, nil, result)
	CloseFiles(files)
	return err
}

// Exchange is Call with descriptors: those that are sent stay the caller's, those that are answered become it.
func (c *Client) Exchange(ctx context.Context, method string, params any, send []*os.File, result any) ([]*os.File, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode params of %s: %w", method, err)
	}
	id, answer, err := c.register()
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	defer c.forget(id, answer)
	if err := c.write(&Frame{ID: id, Method: method, Params: raw, Files: len(send), files: send}); err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	select {
	case f := <-answer:
		return decodeAnswer(method, f, result)
	case <-ctx.Done():
		return nil, fmt.Errorf("call %s: %w", method, ctx.Err())
	case <-c.broken:
	}
	select { // the answer may have come just before the end
	case f := <-answer:
		return decodeAnswer(method, f, result)
	default:
		return nil, fmt.Errorf("call %s: %w", method, ErrClosed)
	}
}

func decodeAnswer(method string, f *Frame, result any) ([]*os.File, error) {
	err := error(nil)
	switch {
	case f.Error != nil:
		err = f.Error
	case result != nil:
		if decodeErr := json.Unmarshal(f.Result, result); decodeErr != nil {
			err = fmt.Errorf("decode result of %s: %w", method, decodeErr)
		}
	}
	if err != nil {
		CloseFiles(f.files)
		return nil, err
	}
	return f.files, nil
}

func (c *Client) register() (uint64, chan *Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, ErrClosed
	}
	c.next++
	answer := make(chan *Frame, 1)
	c.pending[c.next] = answer
	return c.next, answer, nil
}

// forget is for whoever waits no longer. Descriptors that came meanwhile are nobody's.
func (c *Client) forget(id uint64, answer chan *Frame) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
	select {
	case f := <-answer:
		CloseFiles(f.files)
	default:
	}
}

func (c *Client) write(f *Frame) error {
	buf, err := AppendFrame(nil, f)
	if err != nil {
		return err
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := writeFrame(c.conn, buf, f.files); err != nil {
		_ = c.conn.Close() // half a frame may have gone out: nothing after it can be understood
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

func (c *Client) read(r *bufio.Reader, files *fileReader) {
	defer files.close()
	for {
		f, err := ReadFrame(r)
		if err == nil {
			f.files, err = files.take(f.Files)
		}
		if err != nil {
			c.end(err)
			return
		}
		if f.Event != "" {
			if !c.events.put(f) {
				c.end(fmt.Errorf("more than %d events wait", maxQueuedEvents))
				return
			}
			continue
		}
		c.deliver(f)
	}
}

// deliver hands a response to who waits for it, if somebody does.
func (c *Client) deliver(f *Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.pending[f.ID]
	delete(c.pending, f.ID)
	if answer == nil { // the caller has given up
		CloseFiles(f.files)
		return
	}
	answer <- f // it has room
}

func (c *Client) end(err error) {
	_ = c.conn.Close()
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.broken)
	c.events.close()
}

// tell hands on events until the connection has ended and none is left.
func (c *Client) tell() {
	defer close(c.done)
	for {
		list, last := c.events.take()
		for _, f := range list {
			c.onEvent(f.Event, f.Params)
		}
		if last {
			return
		}
	}
}
