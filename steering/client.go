package steering

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// callTimeout bounds what a request takes that no context bounds more: the server's work is a few system calls an address.
const callTimeout = 10 * time.Second

// ErrClosed is what requests answer whose connection has ended.
var ErrClosed = errors.New("the connection to what steers has ended")

// OffError says that the server steers nothing, and why.
type OffError struct{ Reason string }

func (e *OffError) Error() string { return "connections are not steered: " + e.Reason }

// Client is a connection to a Server. It is safe for concurrent use; requests are done in the order in which they come.
type Client struct {
	conn    *net.UnixConn
	answers chan answer
	done    chan struct{}

	mu     sync.Mutex // held from a request to its answer
	broken bool
}

// Dial connects to the server and waits until it knows whether it steers. An *OffError comes with a client whose Done
// tells when it is worth asking again.
func Dial(ctx context.Context, path string) (*Client, error) {
	var conn net.Conn
	err := withAddress(path, func(at *net.UnixAddr) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, at.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to what steers: %w", err)
	}
	c := &Client{conn: conn.(*net.UnixConn), answers: make(chan answer, 1), done: make(chan struct{})}
	go c.read()
	hello, err := c.await(ctx)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to what steers: %w", err)
	}
	if hello.Error != "" {
		return c, &OffError{Reason: hello.Error}
	}
	return c, nil
}

// read takes answers until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	defer c.conn.Close()
	buf := make([]byte, maxPacket)
	for {
		n, err := c.conn.Read(buf)
		if err != nil || n == 0 {
			return
		}
		var a answer
		if json.Unmarshal(buf[:n], &a) != nil {
			return
		}
		select {
		case c.answers <- a:
		default: // nobody asked
			return
		}
	}
}

func (c *Client) await(ctx context.Context) (answer, error) {
	select {
	case a := <-c.answers:
		return a, nil
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case <-c.done:
	}
	select { // it may have come just before the end
	case a := <-c.answers:
		return a, nil
	default:
		return answer{}, ErrClosed
	}
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection. What is steered stays so.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Listen has the listener get what arrives for the addresses from now on. It must be of their family. Where an address is
// another socket's already, there is no moment at which it is nobody's. An error may be that of
// some addresses: the others are the listener's.
func (c *Client) Listen(ctx context.Context, listener *os.File, addresses ...netip.AddrPort) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for part := range slices.Chunk(addresses, MaxAddresses) {
		askErr := error(nil)
		err := raw.Control(func(fd uintptr) {
			askErr = c.ask(ctx, &request{Op: opListen, Addresses: part}, unix.UnixRights(int(fd)))
		})
		if err = errors.Join(err, askErr); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	return nil
}

// Remove has nobody get what arrives for the addresses.
func (c *Client) Remove(ctx context.Context, addresses ...netip.AddrPort) error {
	for part := range slices.Chunk(addresses, MaxAddresses) {
		if err := c.ask(ctx, &request{Op: opRemove, Addresses: part}, nil); err != nil {
			return fmt.Errorf("remove addresses: %w", err)
		}
	}
	return nil
}

// Settle says that all that there is has been named on this connection. What else is steered ends.
func (c *Client) Settle(ctx context.Context) error {
	if err := c.ask(ctx, &request{Op: opSettle}, nil); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// ask sends a request and waits for its answer. Once one got none, nothing can be told apart any more.
func (c *Client) ask(ctx context.Context, r *request, oob []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return ErrClosed
	}
	deadline, _ := ctx.Deadline()
	_ = c.conn.SetWriteDeadline(deadline)
	if _, _, err = c.conn.WriteMsgUnix(raw, oob, nil); err != nil {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	var a answer
	if err == nil {
		a, err = c.await(ctx)
	}
	if err != nil {
		c.broken = true
		_ = c.conn.Close()
		return err
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}
