// Echoserver is an ordinary net/http server that keeps its state between requests: it accepts connections itself, from
// the listening socket that its pod hands it. All requests share the one instance, as they would in a container.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// listener is the pod's first port. WASI preview 1 cannot open a socket: it is there when the program begins, under the
// number that PETREL_LISTEN_FD names.
func listener() (net.Listener, error) {
	fd, err := strconv.Atoi(os.Getenv("PETREL_LISTEN_FD"))
	if err != nil {
		return nil, fmt.Errorf("PETREL_LISTEN_FD is no number: does the pod name a port? %w", err)
	}
	// Without this Go would wait in accept itself, and every goroutine with it.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	return net.FileListener(file)
}

func main() {
	l, err := listener()
	if err != nil {
		log.Fatal(err)
	}
	var count atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		// Else the server stops reading when the answer begins.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			log.Print(err)
		}
		if _, err := io.Copy(w, r.Body); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "request %d\n", count.Add(1))
	})
	log.Fatal(http.Serve(l, mux))
}
