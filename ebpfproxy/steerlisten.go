package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// Listen hands what arrives for addr to the listener, a TCP socket that listens or a UDP socket that is bound, from the
// next connection on: there is no moment at which neither the old nor the new socket has it. Connections that wait
// at the old listener are still its own to accept. The listener has to be of the address' family, or an IPv6 socket
// that serves IPv4 as well. It may be closed afterwards if another process has it open.
func (s *Steer) Listen(addr netip.AddrPort, protocol Protocol, listener syscall.Conn) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	if ctlErr := raw.Control(func(fd uintptr) { err = s.ListenFD(addr, protocol, int(fd)) }); ctlErr != nil {
		return fmt.Errorf("listen on %s: %w", addr, ctlErr)
	}
	return err
}

// ListenFD is Listen for a descriptor, as it comes over a unix socket. It does not keep or close it.
func (s *Steer) ListenFD(addr netip.AddrPort, protocol Protocol, fd int) error {
	if !addr.IsValid() || addr.Port() == 0 || addr.Addr().Is4In6() || (protocol != TCP && protocol != UDP) {
		return fmt.Errorf("listen on %s %s: want an address with a port, and TCP or UDP", protocol, addr)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return fmt.Errorf("listen on %s: identify socket: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.collection == nil {
		return fmt.Errorf("listen on %s: %w", addr, ErrClosed)
	}
	index, err := s.indexOf(cookie, fd)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	key := listenKey(addr, protocol)
	old, had := s.listening[key]
	if had && old == index {
		return nil
	}
	if err := s.collection.Maps[mapListen].Put(key, index); err != nil {
		if s.uses[index] == 0 {
			err = errors.Join(err, s.dropSocket(index))
		}
		return fmt.Errorf("listen on %s: %w", addr, s.full(err, "Addresses", mapListen))
	}
	s.listening[key] = index
	s.uses[index]++
	if had {
		return s.unuse(old)
	}
	return nil
}

// indexOf answers where the socket is in the map of sockets, and puts it there.
func (s *Steer) indexOf(cookie uint64, fd int) (uint32, error) {
	if index, ok := s.byCookie[cookie]; ok {
		return index, nil
	}
	limit := s.collection.Maps[mapSockets].MaxEntries()
	for index := range limit {
		if _, taken := s.cookieOf[index]; taken || s.uses[index] > 0 {
			continue
		}
		if err := s.collection.Maps[mapSockets].Put(index, uint64(fd)); err != nil {
			return 0, fmt.Errorf("add listener: %w", err)
		}
		s.byCookie[cookie], s.cookieOf[index] = index, cookie
		return index, nil
	}
	return 0, &FullError{Table: "Listeners", Limit: int(limit), Missing: 1}
}

func (s *Steer) full(err error, table, name string) error {
	if errors.Is(err, unix.E2BIG) {
		return &FullError{Table: table, Limit: int(s.collection.Maps[name].MaxEntries()), Missing: 1}
	}
	return err
}

// Remove steers an address no longer. One that is not steered is no error.
func (s *Steer) Remove(addr netip.AddrPort, protocol Protocol) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.collection == nil {
		return fmt.Errorf("remove %s: %w", addr, ErrClosed)
	}
	key := listenKey(addr, protocol)
	index, ok := s.listening[key]
	if !ok {
		return nil
	}
	if err := s.collection.Maps[mapListen].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove %s: %w", addr, err)
	}
	delete(s.listening, key)
	return s.unuse(index)
}

// unuse forgets a socket with its last address: the map of sockets keeps no descriptor, but its place is another's.
func (s *Steer) unuse(index uint32) error {
	if s.uses[index]--; s.uses[index] > 0 {
		return nil
	}
	return s.dropSocket(index)
}

func (s *Steer) dropSocket(index uint32) error {
	delete(s.uses, index)
	delete(s.byCookie, s.cookieOf[index])
	delete(s.cookieOf, index)
	// A socket that was closed left the map by itself; the kernel has two answers for that.
	err := s.collection.Maps[mapSockets].Delete(index)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("drop listener: %w", err)
	}
	return nil
}

func listenKey(addr netip.AddrPort, protocol Protocol) bpf.SteerListenKey {
	key := bpf.SteerListenKey{Port: swap(addr.Port()), Protocol: uint8(protocol)}
	key.Addr.Word = words(addr.Addr())
	return key
}
