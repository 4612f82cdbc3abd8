package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/doors"
	"github.com/petrelrun/petrel/wasmrt/runner/front"
)

// httpServer is the workload of an HTTP guest: doors at the pod's address and, while somebody asks, what answers (see
// awake). Asleep it is this struct and the kernel's sockets.
type httpServer struct {
	keeper *doors.Keeper
	chores *chores
	doors  []*doors.Door
	front  *front.Front             // nil unless it listens at the shared sockets
	shared []netip.AddrPort         // where, by way of them
	fixed  bool                     // its sockets are in another network: no other process can have such ones
	done   func(exit)               // nil until it is started
	first  func(took time.Duration) // told of the first request

	mu      sync.Mutex
	config  httpabi.Config
	awake   *awake // nil while nobody asks
	closing bool   // it takes no more connections, but for those that waited at a shared socket
	over    bool   // not even those
	hurry   func() // ends the wait for them; nil before there is one
	cause   error  // why it was killed; nil: it was not

	once   sync.Once // of the end
	counts counts
}

// newHTTPServer listens, so that what is wrong with addresses fails the start.
func newHTTPServer(c *container, config httpabi.Config, l listening) (*httpServer, error) {
	s := &httpServer{keeper: c.runner.keeper, chores: c.runner.chores, config: config, first: c.answered}
	at, err := endpoints(c.params)
	if err != nil {
		return nil, err
	}
	if c.params.Elsewhere {
		s.fixed = true
		return s, s.adopt(at, l.given)
	}
	if l.shared {
		if ok, err := s.serveShared(c, at); ok || err != nil {
			return s, err
		}
	}
	if err := s.listenAt(at); err != nil {
		return nil, err
	}
	return s, nil
}

// adopt makes doors of sockets that listen in another network.
func (s *httpServer) adopt(at []netip.AddrPort, given []*os.File) error {
	if len(given) != len(at) {
		return fmt.Errorf("listen at %d ports: %d sockets were given", len(at), len(given))
	}
	for i, file := range given {
		d, err := s.keeper.Adopt(file, at[i], s.wake)
		if err != nil {
			s.closeDoors()
			return err
		}
		s.doors = append(s.doors, d)
	}
	return nil
}

// listenAt makes doors, all or none.
func (s *httpServer) listenAt(at []netip.AddrPort) error {
	for _, addr := range at {
		d, err := s.keeper.Listen(addr, s.wake)
		if err != nil {
			s.closeDoors()
			return explainListen(addr, err)
		}
		s.doors = append(s.doors, d)
	}
	return nil
}

func (s *httpServer) closeDoors() {
	for _, d := range s.doors {
		_ = d.Close()
	}
	s.doors = nil
}

// leave has it listen nowhere.
func (s *httpServer) leave() {
	s.closeDoors()
	if s.front != nil {
		s.front.Leave(s, s.shared...)
	}
}

// start waits for whoever comes. It returns at once; done is called when no request runs any more.
func (s *httpServer) start(done func(exit)) {
	s.mu.Lock()
	s.done = done
	err := s.watch()
	s.mu.Unlock()
	if err != nil {
		s.kill(err)
	}
}

func (s *httpServer) watch() error {
	for _, d := range s.doors {
		if err := d.Watch(); err != nil {
			return fmt.Errorf("wait at %s: %w", d.Addr(), err)
		}
	}
	return nil
}

// wake begins to serve: somebody knocked.
func (s *httpServer) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.awake != nil {
		return
	}
	if err := s.awaken(); isScarce(err) {
		time.AfterFunc(scarcePause, s.again) // some come back
	} else if err != nil {
		go s.kill(err) // it takes the mutex
	}
}

// awaken makes what answers. s.mu is held.
func (s *httpServer) awaken() error {
	a, err := s.rise()
	if err != nil {
		s.closeAwake(a)
		return err
	}
	s.awake = a
	s.chores.watch(s)
	return nil
}

// scarcePause is what a server waits that could not wake for want of descriptors.
const scarcePause = 100 * time.Millisecond

// isScarce says whether it is descriptors that are missing. They are the process's: no reason to end a pod.
func isScarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// again listens for knocks after a wake that failed. A connection waits, so it knocks at once.
func (s *httpServer) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.awake != nil {
		return
	}
	if err := s.watch(); err != nil {
		go s.kill(err) // it takes the mutex
	}
}

// rest goes to sleep when nobody has been connected for a while. It says whether it sleeps.
func (s *httpServer) rest(now time.Time, after time.Duration) bool {
	s.mu.Lock()
	a := s.awake
	if s.closing || a == nil {
		s.mu.Unlock()
		return true
	}
	if !a.idle(now, after) {
		s.mu.Unlock()
		return false
	}
	scarce := s.shut(a)
	err := error(nil)
	asleep := a.conns.Load() == 0 && !scarce
	if asleep {
		s.awake = nil
		err = s.watch()
	} else { // a connection came just before, or a door could not be shut
		err = s.open(a)
	}
	s.mu.Unlock()
	if err != nil && !isScarce(err) { // else the next round tries again
		s.kill(err)
	}
	if asleep {
		a.end()
	}
	return asleep
}

// drain stops listening and lets requests finish. Connections that are idle are closed.
func (s *httpServer) drain() {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return
	}
	s.closing = true
	a := s.awake
	s.closeDoors()
	settling, cancel := context.WithTimeout(context.Background(), settleLimit)
	s.hurry = cancel
	s.mu.Unlock()
	if a == nil && s.front == nil {
		cancel()
		s.finish()
		return
	}
	go func() { // ends with the last request, or because kill cuts it
		defer cancel()
		s.settle(settling)
		s.empty()
		s.finish()
	}()
}

// empty lets requests finish until there are none, and none can come any more.
func (s *httpServer) empty() {
	for {
		s.mu.Lock()
		a := s.awake
		last := a == nil || s.over || a.conns.Load() == 0
		s.over = s.over || last
		s.mu.Unlock()
		if a != nil {
			a.drain()
		}
		if last {
			return
		}
	}
}

// kill ends requests where they are. After a drain it cuts that short.
func (s *httpServer) kill(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = cause
	}
	drained := s.closing
	s.closing, s.over = true, true
	if s.hurry != nil {
		s.hurry()
	}
	a := s.awake
	s.closeDoors()
	s.mu.Unlock()
	if a != nil {
		a.end()
	}
	if !drained {
		s.finish()
	}
}

// errListener is for listeners that fail by themselves.
var errListener = errors.New("listener failed")

// finish tells the end, once. No request runs any more.
func (s *httpServer) finish() {
	s.once.Do(func() {
		s.mu.Lock()
		cause, a := s.cause, s.awake
		s.awake, s.over = nil, true
		s.mu.Unlock()
		if s.front != nil {
			s.front.Leave(s, s.shared...)
		}
		if a != nil {
			a.end()
		}
		switch {
		case cause == nil:
			s.done(exit{0, control.ReasonCompleted, ""})
		case errors.Is(cause, errListener):
			s.done(exit{1, control.ReasonError, cause.Error()})
		default:
			s.done(exit{control.ExitKilled, control.ReasonError, cause.Error()})
		}
	})
}

// replace serves further requests with another spec; those under way finish with theirs.
func (s *httpServer) replace(spec engine.Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return control.Errorf(control.CodePrecondition, "the container is ending")
	}
	config := s.config
	config.Spec = spec
	if err := config.Validate(); err != nil {
		return control.Errorf(control.CodeInvalid, "%v", err)
	}
	if s.awake != nil {
		if err := s.awake.replace(config); err != nil {
			return control.Errorf(control.CodeInvalid, "%v", err)
		}
	}
	s.config = config
	return nil
}

func (s *httpServer) stats(out *control.ContainerStats) {
	s.mu.Lock()
	a := s.awake
	s.mu.Unlock()
	s.counts.tell(out, a)
}
