//go:build wasip1

// Command listener is the tests' guest that accepts connections itself: an ordinary net/http server on a listening socket
// that it is handed. It lives on between requests, and so does what it remembers.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "listener:", err)
		os.Exit(1)
	}
}

func run() error {
	fd, err := strconv.Atoi(os.Getenv("PETREL_LISTEN_FD"))
	if err != nil {
		return fmt.Errorf("read PETREL_LISTEN_FD: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // else package net would block the whole program
		return fmt.Errorf("open socket: %w", err)
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	served := 0
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		fmt.Fprintf(w, "request %d for %s\n", served, r.URL.Path)
	}))
}
