package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// SteerConfig of a Steer.
type SteerConfig struct {
	// Proxy is open, and stays open longer than the Steer. Its pins are where listeners' addresses outlive the process.
	Proxy *Proxy
	// NetNS is the path of the network namespace in which addresses are steered. Empty: the caller's thread's.
	NetNS string
	// Addresses bounds the pairs of address and port, Listeners the sockets; of pinned ones the latter stays as it is.
	// 0: the defaults.
	Addresses, Listeners int
}

const (
	defaultSteerAddresses = 1 << 17 // 10,000 pods with a dozen ports
	defaultSteerListeners = 1 << 12 // a few for each namespace that has pods here

	mapListen  = "petrel_listen"
	mapSockets = "petrel_lsock"
	mapSteered = "petrel_steered"
	steerLink  = "steer"
	callersNS  = "/proc/thread-self/ns/net"
)

// Validate tells all that is wrong with a SteerConfig.
func (c SteerConfig) Validate() error {
	var errs []error
	if c.Proxy == nil {
		errs = append(errs, errors.New("proxy: missing"))
	}
	for name, n := range map[string]int{"addresses": c.Addresses, "listeners": c.Listeners} {
		if n < 0 || n > maxEntries {
			errs = append(errs, fmt.Errorf("%s: %d is not within 1 to %d", name, n, maxEntries))
		}
	}
	return errors.Join(errs...)
}

// Steer hands connections for many addresses to few listening sockets: what arrives for an address and port goes to the
// socket that Listen named for it, wherever that is bound. Its methods are safe for concurrent use.
//
// When the socket of an address is closed, clients are refused; they never reach a socket that listens on all addresses.
type Steer struct {
	cfg SteerConfig

	mu         sync.Mutex
	collection *ebpf.Collection // nil: not open
	listening  map[bpf.SteerListenKey]uint32
	uses       map[uint32]int    // of each index in the map of sockets
	byCookie   map[uint64]uint32 // the index that a socket has
	cookieOf   map[uint32]uint64
}

// SteerStats are counters since the maps were made.
type SteerStats struct {
	Steered uint64 // connections and datagrams handed to a listener
	Absent  uint64 // refused: the listener was closed
	Failed  uint64 // refused: the listener is of another address family
}

// NewSteer makes a Steer that is not open.
func NewSteer(cfg SteerConfig) (*Steer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("new steer: %w", err)
	}
	if cfg.Addresses == 0 {
		cfg.Addresses = defaultSteerAddresses
	}
	if cfg.Listeners == 0 {
		cfg.Listeners = defaultSteerListeners
	}
	if cfg.NetNS == "" {
		cfg.NetNS = callersNS
	}
	return &Steer{cfg: cfg}, nil
}

// Open loads the program and attaches it. What an earlier process pinned goes on, as it was.
func (s *Steer) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.collection != nil {
		return errors.New("open steer: it is open")
	}
	if err := s.open(); err != nil {
		return fmt.Errorf("open steer: %w", unsupported(err))
	}
	return nil
}

func (s *Steer) open() error {
	spec, err := bpf.LoadSteer()
	if err != nil {
		return err
	}
	spec.Maps[mapListen].MaxEntries = uint32(s.cfg.Addresses)
	spec.Maps[mapSockets].MaxEntries = s.listenersSize()
	collection, err := s.cfg.Proxy.loadShared(spec)
	if err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	err = s.takeOver(collection)
	if err == nil {
		err = s.attach(collection.Programs["petrel_steer"])
	}
	if err != nil {
		collection.Close()
		return err
	}
	s.collection = collection
	return nil
}

// listenersSize is that of the pinned map where there is one: sockets cannot be copied to one of another size.
func (s *Steer) listenersSize() uint32 {
	if pins := s.cfg.Proxy.pins; pins.root != "" {
		if m, err := ebpf.LoadPinnedMap(pins.path(mapsDir, mapSockets), nil); err == nil {
			defer m.Close()
			return m.MaxEntries()
		}
	}
	return uint32(s.cfg.Listeners)
}

// takeOver reads which addresses are steered, and to which sockets.
func (s *Steer) takeOver(collection *ebpf.Collection) error {
	s.listening, s.uses = map[bpf.SteerListenKey]uint32{}, map[uint32]int{}
	s.byCookie, s.cookieOf = map[uint64]uint32{}, map[uint32]uint64{}
	var key bpf.SteerListenKey
	var index uint32
	entries := collection.Maps[mapListen].Iterate()
	for entries.Next(&key, &index) {
		s.listening[key] = index
		s.uses[index]++
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read addresses: %w", err)
	}
	for index := range s.uses {
		var cookie uint64
		err := collection.Maps[mapSockets].Lookup(index, &cookie)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue // closed since
		}
		if err != nil {
			return fmt.Errorf("read listeners: %w", err)
		}
		s.byCookie[cookie], s.cookieOf[index] = index, cookie
	}
	return nil
}

func (s *Steer) attach(prog *ebpf.Program) error {
	ns, err := os.Open(s.cfg.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		return err
	}
	same := func(info *link.Info) bool {
		there := info.NetNs()
		return there != nil && uint64(there.NetnsInode) == st.Ino
	}
	return s.cfg.Proxy.hold(steerLink, prog, same, func() (link.Link, error) {
		return link.AttachNetNs(int(ns.Fd()), prog)
	})
}

// Close lets go of the program and the sockets. What the proxy pinned goes on; the rest ends with the proxy.
func (s *Steer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.collection != nil {
		s.collection.Close()
		s.collection = nil
	}
	return nil
}

// Detach ends steering.
func (s *Steer) Detach() error {
	return errors.Join(s.cfg.Proxy.release(steerLink), s.Close())
}

// Len counts the addresses that are steered.
func (s *Steer) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.listening)
}

// Addresses are those that are steered, of one protocol.
func (s *Steer) Addresses(protocol Protocol) []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []netip.AddrPort
	for key := range s.listening {
		if key.Protocol == uint8(protocol) {
			all = append(all, netip.AddrPortFrom(addrOf(key.Addr.Word), swap(key.Port)))
		}
	}
	return all
}

// Stats reads the counters.
func (s *Steer) Stats() (SteerStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.collection == nil {
		return SteerStats{}, fmt.Errorf("read steer counters: %w", ErrClosed)
	}
	var n [3]uint64
	if err := sumCounters(s.collection.Maps[mapSteered], n[:]); err != nil {
		return SteerStats{}, fmt.Errorf("read steer counters: %w", err)
	}
	return SteerStats{Steered: n[0], Absent: n[1], Failed: n[2]}, nil
}
