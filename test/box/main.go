// Command box is what the end-to-end tests run in containers: Debian's busybox, which is linked statically against glibc,
// looks up no names.
//
//	box serve ADDRESS TEXT   answers every HTTP request with TEXT
//	box get URL              prints what the URL answers
//	box lookup NAME          prints the addresses of a name
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// patience bounds each request and lookup.
const patience = 5 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "box:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch {
	case len(args) == 3 && args[0] == "serve":
		return http.ListenAndServe(args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, args[2]) }))
	case len(args) == 2 && args[0] == "get":
		return get(ctx, args[1])
	case len(args) == 2 && args[0] == "lookup":
		addrs, err := net.DefaultResolver.LookupHost(ctx, args[1])
		for _, a := range addrs {
			fmt.Println(a)
		}
		return err
	default:
		return fmt.Errorf("want serve ADDRESS TEXT, get URL or lookup NAME, not %q", args)
	}
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}
