package load

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Target is what is asked for.
type Target struct {
	Address string // host:port to connect to
	Host    string // the Host header; "": Address
	Path    string // "": /
}

// Result is what came of it.
type Result struct {
	Requests  int // answered with 200
	Failures  int // answered otherwise, or not
	FirstFail error
	Elapsed   time.Duration
	Latencies []float64 // seconds, of the answered ones
}

// PerSecond is the rate of good answers.
func (r Result) PerSecond() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Limits of one request.
const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 60 * time.Second
	// redialPause keeps a server that refuses from being asked in a spin.
	redialPause = 10 * time.Millisecond
)

// Run asks on so many connections for so long.
func Run(ctx context.Context, target Target, connections int, duration time.Duration) Result {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	results := make([]Result, connections)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range connections {
		wg.Go(func() { results[i] = ask(ctx, target) })
	}
	wg.Wait()
	total := Result{Elapsed: time.Since(began)}
	for _, r := range results {
		total.Requests += r.Requests
		total.Failures += r.Failures
		total.Latencies = append(total.Latencies, r.Latencies...)
		if total.FirstFail == nil {
			total.FirstFail = r.FirstFail
		}
	}
	return total
}

// ask is one connection's loop; a connection that fails is replaced.
func ask(ctx context.Context, target Target) (r Result) {
	for ctx.Err() == nil {
		if err := askOn(ctx, target, &r); err != nil && ctx.Err() == nil {
			r.Failures++
			if r.FirstFail == nil {
				r.FirstFail = err
			}
			time.Sleep(redialPause)
		}
	}
	return r
}

func askOn(ctx context.Context, target Target, r *Result) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", target.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := target.request()
	reader := bufio.NewReaderSize(conn, 16<<10)
	for ctx.Err() == nil {
		began := time.Now()
		if err := conn.SetDeadline(began.Add(requestTimeout)); err != nil {
			return err
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		status, _, err := readResponse(reader)
		if err != nil {
			return err
		}
		if status != 200 {
			return fmt.Errorf("status %d", status)
		}
		r.Requests++
		r.Latencies = append(r.Latencies, time.Since(began).Seconds())
	}
	return nil
}

func (t Target) request() []byte {
	host, path := t.Host, t.Path
	if host == "" {
		host = t.Address
	}
	if path == "" {
		path = "/"
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: petrel-bench\r\n\r\n", path, host)
}
