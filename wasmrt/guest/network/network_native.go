//go:build !wasip1

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// DialContext connects to an address over tcp or udp.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// LookupHost resolves a name to its addresses.
func LookupHost(ctx context.Context, name string) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, name)
}

// Listeners are the sockets that the program was started with.
func Listeners() ([]net.Listener, error) {
	first, count := listeners()
	var out []net.Listener
	for fd := first; fd < first+count; fd++ {
		f := os.NewFile(uintptr(fd), "listener")
		l, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("take listener %d: %w", fd, err)
		}
		out = append(out, l)
	}
	return out, nil
}
