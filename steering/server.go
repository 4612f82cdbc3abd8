package steering

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// acceptPause is what accepting rests after an error that may pass, such as no descriptors.
const acceptPause = 100 * time.Millisecond

// Steerer is what steers. Its methods are called one at a time.
type Steerer interface {
	// Listen has the TCP listener get what arrives for the address. It must not keep the descriptor.
	Listen(at netip.AddrPort, fd int) error
	// Remove has nobody get it. An address that nobody has is no error.
	Remove(at netip.AddrPort) error
	// Addresses are those that somebody has.
	Addresses() []netip.AddrPort
}

// ServerConfig is what a Server needs.
type ServerConfig struct {
	// Socket is where clients connect.
	Socket string
	// Steerer answers what steers, once that is known; an error says why nothing does.
	Steerer func(ctx context.Context) (Steerer, error)
	Logger  *slog.Logger
}

// Validate names what is missing.
func (c *ServerConfig) Validate() error {
	if c.Socket == "" || c.Steerer == nil || c.Logger == nil {
		return errors.New("steering: Socket, Steerer and Logger are required")
	}
	return nil
}

// Server takes the requests of a client.
type Server struct {
	cfg ServerConfig

	mu      sync.Mutex
	current *net.UnixConn // the last that connected
	serving sync.Mutex    // held by whoever serves it
}

// NewServer makes a server; Run serves.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Run serves until ctx ends. What is steered goes on.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("steering: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close(); s.replace(nil) })
	defer stop()
	defer s.replace(nil)
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if c != nil {
				_ = c.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("steering: %w", err)
		}
		if err != nil {
			s.cfg.Logger.Warn("accept failed", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		if err := checkPeer(c); err != nil {
			s.cfg.Logger.Warn("connection refused", "error", err)
			_ = c.Close()
			continue
		}
		s.replace(c)
		if ctx.Err() != nil { // it came after the connections were closed
			s.replace(nil)
		}
		wg.Go(func() {
			if err := s.serve(ctx, c); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("steering client ended", "error", err)
			}
		})
	}
}

// replace makes c the client. The one before is none any more.
func (s *Server) replace(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		_ = s.current.Close()
	}
	s.current = c
}

func (s *Server) serve(ctx context.Context, c *net.UnixConn) error {
	defer c.Close()
	s.serving.Lock() // the former client's last request is done then
	defer s.serving.Unlock()
	steerer, off := s.cfg.Steerer(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err := say(c, off); err != nil {
		return nil // it has gone
	}
	session := &session{steerer: steerer, off: off, named: map[netip.AddrPort]struct{}{}}
	buf := make([]byte, maxPacket)
	for {
		raw, fd, err := receive(c, buf)
		if err == nil && len(raw) == 0 || errors.Is(err, net.ErrClosed) {
			return nil
		}
		var r *request
		if err == nil {
			r, err = decodeRequest(raw)
		}
		if err != nil {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
			return err
		}
		err = session.do(r, fd)
		if fd >= 0 {
			err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
		}
		if err := say(c, err); err != nil {
			return nil
		}
	}
}

func say(c *net.UnixConn, err error) error {
	raw, encodeErr := json.Marshal(newAnswer(err))
	if encodeErr != nil {
		return encodeErr
	}
	_ = c.SetWriteDeadline(time.Now().Add(callTimeout))
	_, writeErr := c.Write(raw)
	return writeErr
}

// session is what a client has said.
type session struct {
	steerer Steerer
	off     error // why there is no steerer
	named   map[netip.AddrPort]struct{}
}

func (s *session) do(r *request, fd int) error {
	if s.off != nil {
		return s.off
	}
	if r.Op == opListen && fd < 0 {
		return errors.New("no listener came along")
	}
	switch r.Op {
	case opListen:
		return s.listen(r.Addresses, fd)
	case opRemove:
		return s.remove(r.Addresses)
	}
	var stale []netip.AddrPort
	for _, at := range s.steerer.Addresses() {
		if _, ok := s.named[at]; !ok {
			stale = append(stale, at)
		}
	}
	return s.remove(stale)
}

// listen does what it can: of many addresses one may be refused.
func (s *session) listen(addresses []netip.AddrPort, fd int) error {
	var errs []error
	for _, at := range addresses {
		if err := s.steerer.Listen(at, fd); err != nil {
			errs = append(errs, err)
			continue
		}
		s.named[at] = struct{}{}
	}
	return errors.Join(errs...)
}

func (s *session) remove(addresses []netip.AddrPort) error {
	var errs []error
	for _, at := range addresses {
		delete(s.named, at)
		errs = append(errs, s.steerer.Remove(at))
	}
	return errors.Join(errs...)
}
