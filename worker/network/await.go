package network

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// awaitTimeout bounds the wait for what the kernel does in its own time: it puts such work off by a second at most.
	awaitTimeout = 3 * time.Second
	awaitPoll    = time.Millisecond
)

// awaitUp waits until a link can carry packets, which the kernel sees to some time after it was set up: what is sent
// before is lost.
func (s *space) awaitUp(name string) error {
	return await(func() error {
		link, err := s.LinkByName(name)
		if err == nil && link.Attrs().OperState != netlink.OperUp {
			err = fmt.Errorf("link %s is %s", name, link.Attrs().OperState)
		}
		return err
	})
}

// awaitAddrs waits until addresses that were set are taken for local, which with IPv6 comes some time later.
func (s *space) awaitAddrs(addrs []netip.Addr) error {
	for _, addr := range addrs {
		err := await(func() error {
			routes, err := s.RouteGet(net.IP(addr.AsSlice()))
			if err == nil && (len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL) {
				err = fmt.Errorf("address %s is not local yet", addr)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// await asks until there is no error, or answers the last one.
func await(ready func() error) error {
	for deadline := time.Now().Add(awaitTimeout); ; time.Sleep(awaitPoll) {
		err := ready()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
