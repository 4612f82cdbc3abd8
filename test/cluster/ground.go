package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// ground is what every cluster stands on: its folder, its links of the binaries, its addresses. What finds, starts and
// ends processes is here, for one process or several.
type ground struct {
	Options
	Addresses *Addresses
	bin       string
}

func newGround(o Options) (ground, error) {
	if err := o.Validate(); err != nil {
		return ground{}, err
	}
	bin, err := linkBinaries(o.Binaries, o.Dir)
	if err != nil {
		return ground{}, err
	}
	addresses, err := claimAddresses()
	if err != nil {
		return ground{}, err
	}
	return ground{Options: o, Addresses: addresses, bin: bin}, nil
}

// Petrel is the path of this cluster's petrel binary.
func (g *ground) Petrel() string { return filepath.Join(g.bin, petrelBinary) }

// Processes answers every live process of this cluster.
func (g *ground) Processes() ([]Found, error) { return findProcesses(g.bin) }

// Supervisors answers the processes that serve the runtime interface: one, but for moments.
func (g *ground) Supervisors() ([]Found, error) { return g.wasmrt("serve") }

// Runners answers the processes that run guests.
func (g *ground) Runners() ([]Found, error) { return g.wasmrt("runner") }

// wasmrt answers the processes of petrel-wasmrt that run the given command of it.
func (g *ground) wasmrt(command string) ([]Found, error) {
	all, err := g.Processes()
	return slices.DeleteFunc(all, func(f Found) bool {
		return f.Binary != wasmrtBinary || len(f.Args) < 2 || f.Args[1] != command
	}), err
}

// Kill ends the given processes of this cluster by SIGKILL and waits until they are gone.
func (g *ground) Kill(ctx context.Context, pids ...int) error {
	all, err := g.Processes()
	if err != nil {
		return err
	}
	which := slices.DeleteFunc(all, func(f Found) bool { return !slices.Contains(pids, f.PID) })
	if len(which) != len(pids) {
		return fmt.Errorf("kill %v: only %v are this cluster's", pids, which)
	}
	return kill9(ctx, g.bin, which)
}

// launch starts a command of petrel and waits until it has told where it listens. The process is answered even when that
// fails, so that the caller can end it.
func (g *ground) launch(ctx context.Context, command, logPath, dataDir string, args ...string) (*Process, State, error) {
	full := append([]string{command, "--log-file", "-", "--data-dir", dataDir}, args...)
	p, err := startProcess("petrel "+command, logPath, g.Petrel(), full, nil)
	if err != nil {
		return nil, State{}, err
	}
	var state State
	err = Until(ctx, readyLimit, p.Name+" to tell where it listens", func() error {
		state, err = p.state(dataDir)
		return err
	})
	return p, state, err
}

// state reads what a process has told of itself, unless an earlier one has.
func (p *Process) state(dataDir string) (s State, err error) {
	if !p.Running() {
		return s, fmt.Errorf("%s ended: %v; see %s:\n%s", p.Name, p.err, p.LogPath, Tail(p.LogPath, 20))
	}
	data, err := os.ReadFile(filepath.Join(dataDir, "petrel.json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, err
	}
	if s.PID != p.PID() {
		return s, fmt.Errorf("petrel.json is of process %d, not yet of %d", s.PID, p.PID())
	}
	return s, nil
}

// anyone asks whether an API lives, whoever has signed its certificate: nothing is sent that could be taken.
var anyone = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
}}

// apiReady waits until the API that a process serves answers that it is ready.
func apiReady(ctx context.Context, api string, p *Process) error {
	return Until(ctx, readyLimit, "the API to be ready", func() error {
		if !p.Running() {
			return fmt.Errorf("%s ended: %v", p.Name, p.err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := anyone.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz answers %s", res.Status)
		}
		return nil
	})
}

// stop ends the given processes one after another as Ctrl-C would. A process of the cluster that outlives that is an
// error, and is killed.
func (g *ground) stop(ctx context.Context, processes ...*Process) error {
	defer g.Addresses.release()
	var errs []error
	wasRunning := false
	for _, p := range processes {
		if p != nil && p.Running() {
			wasRunning = true
			errs = append(errs, p.interrupt(ctx))
		}
	}
	left, err := g.Processes()
	if len(left) > 0 {
		if wasRunning {
			errs = append(errs, fmt.Errorf("stop cluster: processes outlived it: %v", left))
		}
		errs = append(errs, kill9(ctx, g.bin, left))
	}
	return errors.Join(append(errs, err)...)
}

// interrupt ends a process as Ctrl-C does and waits for its end.
func (p *Process) interrupt(ctx context.Context) error {
	if err := p.Signal(syscall.SIGINT); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		return fmt.Errorf("stop cluster: %s after SIGINT: %w; log ends:\n%s", p.Name, err, Tail(p.LogPath, 20))
	}
	return nil
}
