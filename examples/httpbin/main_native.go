//go:build !wasip1

package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

// main serves on $LISTEN and prints the address.
func main() {
	listen := os.Getenv("LISTEN")
	if listen == "" {
		listen = "127.0.0.1:8090"
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(l))
}
