// Command baseline is what the benchmarks compare with: the least that a Go program can be and still answer over
// HTTP. It prints the address of its first listener, then serves until its standard input ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of the first listener")
	more := flag.Int("more", 0, "further listeners, each with a server of its own")
	body := flag.String("body", "hello\n", "what it answers")
	flag.Parse()
	if err := run(*listen, *more, *body); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

func run(listen string, more int, body string) error {
	answer := []byte(body)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(answer)
	})
	first, err := serve(listen, handler)
	if err != nil {
		return err
	}
	for range more {
		if _, err := serve("127.0.0.1:0", handler); err != nil {
			return err
		}
	}
	fmt.Println(first)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func serve(listen string, handler http.Handler) (string, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	go func() { _ = (&http.Server{Handler: handler}).Serve(l) }()
	return l.Addr().String(), nil
}
