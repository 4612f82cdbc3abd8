package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelrun/petrel/lab/machine"
	"github.com/petrelrun/petrel/test/toolchain"
)

// roleVariable makes the test's own binary a program of a machine: "serve NAME ADDRESS",
// "ask COUNT ADDRESS", "get URL" or "load URL".
const roleVariable = "PETREL_TEST_ROLE"

// petrel is the binary that is tried, tree what it is built from.
var (
	petrel string
	tree   *toolchain.Tree
)

func TestMain(m *testing.M) {
	machine.Init()
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(strings.Fields(role)))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	var err error
	if tree, err = toolchain.Find(); err != nil {
		return 0, err
	}
	if _, err := tree.Binaries(context.Background()); err != nil {
		return 0, err
	}
	petrel = filepath.Join(tree.Bin(), "petrel")
	return m.Run(), nil
}

// play is what the test's binary does on a machine.
func play(role []string) int {
	var err error
	switch {
	case len(role) == 3 && role[0] == "serve":
		err = serve(role[1], role[2])
	case len(role) == 3 && role[0] == "ask":
		err = ask(role[1], role[2])
	case len(role) == 2 && role[0] == "get":
		err = get(role[1])
	case len(role) == 2 && role[0] == "load":
		load(role[1])
	default:
		err = fmt.Errorf("no such role: %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// serve says its name and the client's address to everybody, until it is killed.
func serve(name, at string) error {
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		fmt.Fprintf(conn, "%s %s\n", name, from)
		conn.Close()
	}
}

// askTimeout bounds one connection.
const askTimeout = 5 * time.Second

// ask connects time and again and prints a line a connection: the answer, or "error" and what it was.
func ask(count, at string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddrPort(at); err != nil {
		return err
	}
	for range n {
		line, err := askOnce(at)
		if err != nil {
			line = "error " + err.Error() + "\n"
		}
		fmt.Print(line)
	}
	return nil
}

func askOnce(at string) (string, error) {
	conn, err := net.DialTimeout("tcp", at, askTimeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(askTimeout))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == io.EOF {
		return "", io.ErrUnexpectedEOF
	}
	return line, err
}

// get prints an HTTP answer's status and body.
func get(url string) error {
	answer, err := (&http.Client{Timeout: askTimeout}).Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	fmt.Println(answer.StatusCode)
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

// The load: clients that each make a new connection for every request, at a rate that they keep together.
const (
	loadClients = 10
	loadPause   = 20 * time.Millisecond
)

// load asks until its standard input ends, and prints how often, how often in vain, and what went wrong first.
func load(url string) {
	var asked, failed atomic.Int64
	var first atomic.Pointer[string]
	done := make(chan struct{})
	var clients sync.WaitGroup
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for range loadClients {
		clients.Go(func() {
			for tick := time.NewTicker(loadPause); ; {
				select {
				case <-done:
					tick.Stop()
					return
				case <-tick.C:
				}
				asked.Add(1)
				if err := tryOnce(client, url); err != nil {
					text := err.Error()
					failed.Add(1)
					first.CompareAndSwap(nil, &text)
				}
			}
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(done)
	clients.Wait()
	fmt.Println(asked.Load(), failed.Load())
	if text := first.Load(); text != nil {
		fmt.Println(*text)
	}
}

func tryOnce(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}
