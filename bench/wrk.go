package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// wrkThreads is one: load, proxy and server share the machine's few processors.
const wrkThreads = 1

// target is what wrk asks for.
type target struct {
	address string // host:port to connect to
	host    string // the Host header; "": address
	path    string // "": /
}

// load is what wrk found.
type load struct {
	perSecond float64
	p50, p99  float64 // seconds
}

// wrk asks a target on so many connections for so long. An answer that is no success, or a connection that fails, is an
// error: the rate of refusals is no rate.
func (l *lab) wrk(ctx context.Context, t target, connections int, duration time.Duration) (load, error) {
	path, err := l.wrkPath(ctx)
	if err != nil {
		return load{}, err
	}
	args := []string{
		"-t", strconv.Itoa(wrkThreads), "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%.0fs", max(1, duration.Seconds())),
		"--timeout", "30s", "--latency",
	}
	if t.host != "" {
		args = append(args, "-H", "Host: "+t.host)
	}
	if t.path == "" {
		t.path = "/"
	}
	cmd := exec.CommandContext(ctx, path, append(args, "http://"+t.address+t.path)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("run wrk: %w\n%s", err, out)
	}
	return parseWrk(out)
}

// wrkPath finds wrk, and lets the tests' script install it when it is not there.
func (l *lab) wrkPath(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("wrk"); err == nil {
		return path, nil
	}
	out, err := exec.CommandContext(ctx, filepath.Join(l.tree.Root, "test", "deps.sh"), "wrk").CombinedOutput()
	if err == nil {
		var path string
		if path, err = exec.LookPath("wrk"); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("unavailable: wrk is not installed: %w\n%s", err, bytes.TrimSpace(out))
}

var (
	wrkRate    = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)$`)
	wrkLatency = regexp.MustCompile(`(?m)^\s+(50|99)%\s+(\S+)$`)
	wrkFailure = regexp.MustCompile(`(?m)^\s*(Non-2xx or 3xx responses|Socket errors): .*$`)
)

func parseWrk(out []byte) (r load, err error) {
	if failure := wrkFailure.Find(out); failure != nil {
		return r, fmt.Errorf("run wrk: %s", bytes.TrimSpace(failure))
	}
	rate := wrkRate.FindSubmatch(out)
	if rate == nil {
		return r, fmt.Errorf("run wrk: it tells no rate:\n%s", out)
	}
	if r.perSecond, err = strconv.ParseFloat(string(rate[1]), 64); err != nil {
		return r, fmt.Errorf("run wrk: %w", err)
	}
	if r.perSecond == 0 {
		return r, errors.New("run wrk: nothing was answered")
	}
	for _, m := range wrkLatency.FindAllSubmatch(out, -1) {
		d, err := time.ParseDuration(string(m[2])) // wrk's us, ms, s and m are Go's
		if err != nil {
			return r, fmt.Errorf("run wrk: %w", err)
		}
		if string(m[1]) == "50" {
			r.p50 = d.Seconds()
		} else {
			r.p99 = d.Seconds()
		}
	}
	return r, nil
}
