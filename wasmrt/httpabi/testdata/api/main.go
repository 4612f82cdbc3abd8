// Api is a guest with a handler for each thing that the ABI can do, for the tests of httpabi.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/guest"
)

var hits int // a fresh instance for each request keeps it at one

func init() {
	if os.Getenv("FAIL_INIT") != "" {
		log.Fatal("init fails as told")
	}
	if d, err := time.ParseDuration(os.Getenv("SLOW_INIT")); err == nil {
		time.Sleep(d)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/meta", meta)
	mux.HandleFunc("/hits", func(w http.ResponseWriter, _ *http.Request) { hits++; fmt.Fprint(w, hits) })
	mux.HandleFunc("/sum", sum)
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
		_, err := w.Write([]byte("x"))
		log.Printf("write after %d: %v", code, err)
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "yes")
		fmt.Fprint(w, "done")
	})
	mux.HandleFunc("/big", big)
	mux.HandleFunc("/length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, err := w.Write([]byte("toolong"))
		log.Print("first: ", err)
		log.Print("flush: ", http.NewResponseController(w).Flush())
	})
	mux.HandleFunc("/goroutines", goroutines)
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("as told") })
	mux.HandleFunc("/panic-late", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic("too late")
	})
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.HandleFunc("/deadlock", func(http.ResponseWriter, *http.Request) { select {} })
	mux.HandleFunc("/loop", func(http.ResponseWriter, *http.Request) {
		for i := 0; ; i++ {
			hits = i
		}
	})
	mux.HandleFunc("/sleep", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("for"))
		time.Sleep(d)
		fmt.Fprint(w, "slept")
	})
	mux.HandleFunc("/eat", func(http.ResponseWriter, *http.Request) {
		var held [][]byte
		for {
			held = append(held, make([]byte, 1<<20))
			held[len(held)-1][0] = 1
		}
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "waiting")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		log.Print("context: ", r.Context().Err())
	})
	mux.HandleFunc("/derived", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 30*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		fmt.Fprint(w, errors.Is(ctx.Err(), context.DeadlineExceeded), r.Context().Err())
	})
	mux.HandleFunc("/log", func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Printf("line %d ", i)
			fmt.Printf("of %s\n", r.FormValue("name"))
		}
		fmt.Print("unfinished")
	})
	guest.Handle(mux)
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.Copy(w, r.Body); err != nil {
		log.Print("echo: ", err)
	}
}

func meta(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s|%s|%s|%s|%s|%d|%v|%v|%q|%v", r.Method, r.URL, r.RequestURI, r.Proto, r.Host, r.ContentLength,
		r.TransferEncoding, r.TLS != nil, r.Header["X-Two"], r.RemoteAddr != "")
}

func sum(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%d %v %s", n, err, r.Trailer.Get("X-Check"))
}

func stream(w http.ResponseWriter, r *http.Request) {
	// Bytes go back as they come: the client sees the first before it sends the second.
	rc := http.NewResponseController(w)
	n, _ := strconv.Atoi(r.FormValue("n"))
	for i := range n {
		fmt.Fprintf(w, "event %d\n", i)
		if err := rc.Flush(); err != nil {
			log.Print("stream: ", err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func trailers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "X-Announced")
	fmt.Fprint(w, "body")
	w.Header().Set("X-Announced", "one")
	w.Header().Set(http.TrailerPrefix+"X-Late", "two")
}

func big(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("n"))
	chunk := make([]byte, 1000)
	for n > 0 {
		m, err := w.Write(chunk[:min(n, len(chunk))])
		if err != nil {
			log.Print("big: ", err)
			return
		}
		n -= m
	}
}

func goroutines(w http.ResponseWriter, _ *http.Request) {
	var wg sync.WaitGroup
	results := make([]int, 10)
	for i := range results {
		wg.Go(func() {
			time.Sleep(time.Duration(10-i) * time.Millisecond)
			results[i] = i * i
		})
	}
	wg.Wait()
	go func() { time.Sleep(time.Hour) }()
	fmt.Fprint(w, results)
}

func main() {}
