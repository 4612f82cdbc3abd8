// World is a command that does with files and the network what its argument says, for the tests of package wasi.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/petrelrun/petrel/wasmrt/guest/network"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch args[0] {
	case "serve":
		return serve()
	case "serve-std":
		return serveStandard()
	case "dial":
		return dial(args[1], args[2])
	case "denied":
		_, err := network.Dial("tcp", args[1])
		fmt.Println(errors.Is(err, fs.ErrPermission), err)
	case "slow":
		return slow(args[1])
	case "lookup":
		addrs, err := network.LookupHost(context.Background(), args[1])
		fmt.Println(addrs, err)
	case "get":
		return get(args[1])
	case "temp":
		return temp()
	case "stdin":
		return stdin()
	}
	return nil
}

// serve uses what the SDK has for servers.
func serve() error {
	listeners, err := network.Listeners()
	if err != nil {
		return err
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from %s at %s", r.URL.Path, r.RemoteAddr, listeners[0].Addr())
	})
	http.HandleFunc("/form", form)
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	return http.Serve(listeners[0], nil)
}

// form has a limit so low that files spill to the disk.
func form(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseMultipartForm(10); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	f, header, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	_, onDisk := f.(*os.File)
	n, err := io.Copy(io.Discard, f)
	fmt.Fprint(w, header.Filename, " ", n, " ", onDisk, " ", err)
}

var _ multipart.File = (*os.File)(nil)

// serveStandard knows nothing of Petrel: it takes descriptor 3 as systemd's convention has it.
func serveStandard() error {
	const fd = 3
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(fd, "listener"))
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "plain ", r.URL.Path) }))
}

func dial(tcp, udp string) error {
	for kind, address := range map[string]string{"tcp": tcp, "udp": udp} {
		conn, err := network.Dial(kind, address)
		if err != nil {
			return err
		}
		if got := conn.RemoteAddr().String(); got != address {
			return fmt.Errorf("the peer is %s", got)
		}
		if _, err := fmt.Fprintf(conn, "hello %s\n", kind); err != nil {
			return err
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
		fmt.Fprint(os.Stderr, line)
	}
	return nil
}

// slow reads from somebody who never answers, while another goroutine runs.
func slow(address string) error {
	conn, err := network.Dial("tcp", address)
	if err != nil {
		return err
	}
	ticks := 0
	go func() {
		for range time.Tick(time.Millisecond) {
			ticks++
		}
	}()
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded), ticks > 3)
	return conn.Close()
}

func get(url string) error {
	client := http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	fmt.Print(resp.StatusCode, " ", string(b))
	return err
}

func temp() error {
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "y")
	if err != nil {
		return err
	}
	payload := bytes.Repeat([]byte("petrel"), 50_000)
	if _, err := f.Write(payload); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, "z"))); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, "z"))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	fmt.Println(bytes.Equal(b, payload), len(entries), entries[0].Name())
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	left, err := os.ReadDir(os.TempDir())
	fmt.Println(strconv.Itoa(len(left)), err)
	return nil
}

// stdin waits for input that comes late, while another goroutine runs.
func stdin() error {
	ticks := 0
	go func() {
		for range time.Tick(time.Millisecond) {
			ticks++
		}
	}()
	fmt.Println("waiting")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Printf("%q %v %v\n", line, err, ticks > 3)
	return nil
}
