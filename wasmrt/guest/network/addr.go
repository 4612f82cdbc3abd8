package network

import (
	"context"
	"net"
	"os"
	"strconv"
)

// Dial connects to an address over tcp or udp.
func Dial(network, address string) (net.Conn, error) {
	return DialContext(context.Background(), network, address)
}

// Addresses of a connection, as the host told them.

func tcpAddr(text string) net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return &net.TCPAddr{}
	}
	return addr
}

func udpAddr(text string) net.Addr {
	addr, err := net.ResolveUDPAddr("udp", text)
	if err != nil {
		return &net.UDPAddr{}
	}
	return addr
}

// firstListener is where systemd puts the first socket, and Petrel too when nothing is mounted.
const firstListener = 3

// listeners counts the sockets that the program was started with, and tells the first.
func listeners() (first, count int) {
	count, _ = strconv.Atoi(os.Getenv("LISTEN_FDS"))
	first, err := strconv.Atoi(os.Getenv("PETREL_LISTEN_FD"))
	if err != nil {
		first = firstListener
	}
	return first, count
}
