package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// Split is a cluster whose control plane and worker are processes of their own.
type Split struct {
	Options
	Addresses *Addresses
	API       string // http://127.0.0.1:NNNN
	Gateway   string // 127.0.0.1:NNNN

	bin          string
	ControlPlane *Process
	Worker       *Process
}

// StartSplit starts a control plane and a worker and waits until the API is ready.
func StartSplit(ctx context.Context, o Options) (*Split, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	bin, err := linkBinaries(o.Binaries, o.Dir)
	if err != nil {
		return nil, err
	}
	addresses, err := claimAddresses()
	if err != nil {
		return nil, err
	}
	s := &Split{Options: o, Addresses: addresses, bin: bin}
	// Apps' URLs are the control plane's to tell and the worker's to serve: both must know the port beforehand.
	if s.Gateway, err = freeAddress(); err == nil {
		err = s.UpControlPlane(ctx)
	}
	if err == nil {
		err = s.UpWorker(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Split) dataDir(part string) string { return filepath.Join(s.Dir, part) }

// LogPath is where a part, "controlplane" or "worker", writes.
func (s *Split) LogPath(part string) string { return filepath.Join(s.Dir, part+".log") }

// UpControlPlane starts the control plane, on the port it had before, and waits until it is ready.
func (s *Split) UpControlPlane(ctx context.Context) error {
	listen := "127.0.0.1:0"
	if s.API != "" {
		listen = s.API[len("http://"):]
	}
	p, state, err := s.up(ctx, "controlplane", "--listen", listen, "--gateway-listen", s.Gateway, "--service-cidr", s.Addresses.Services)
	if err != nil {
		return err
	}
	s.ControlPlane, s.API = p, state.API
	return Until(ctx, readyLimit, "the API to be ready", func() error {
		res, err := http.Get(s.API + "/readyz")
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

// UpWorker starts the worker. A clean end of it ends its pods too.
func (s *Split) UpWorker(ctx context.Context) error {
	p, _, err := s.up(ctx, "worker", "--server", s.API, "--gateway-listen", s.Gateway, "--pod-cidr", s.Addresses.Pods, "--stop-pods")
	if err != nil {
		return err
	}
	s.Worker = p
	return nil
}

// freeAddress answers an address on loopback that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// up starts one part and waits until it has told where it listens.
func (s *Split) up(ctx context.Context, part string, args ...string) (*Process, State, error) {
	args = append([]string{part, "--log-file", "-", "--data-dir", s.dataDir(part)}, args...)
	p, err := startProcess("petrel "+part, s.LogPath(part), filepath.Join(s.bin, petrelBinary), args, nil)
	if err != nil {
		return nil, State{}, err
	}
	var state State
	err = Until(ctx, readyLimit, "petrel "+part+" to tell where it listens", func() error {
		if !p.Running() {
			return fmt.Errorf("it ended: %v; log ends:\n%s", p.err, Tail(s.LogPath(part), 20))
		}
		data, err := os.ReadFile(filepath.Join(s.dataDir(part), "petrel.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &state); err != nil {
			return err
		}
		if state.PID != p.PID() {
			return fmt.Errorf("petrel.json is of process %d, not yet of %d", state.PID, p.PID())
		}
		return nil
	})
	return p, state, err
}

// Processes answers every live process of this cluster.
func (s *Split) Processes() ([]Found, error) { return findProcesses(s.bin) }

// Stop ends both parts, the worker first, and whatever they left.
func (s *Split) Stop(ctx context.Context) error {
	defer s.Addresses.release()
	var errs []error
	for _, p := range []*Process{s.Worker, s.ControlPlane} {
		if p == nil || !p.Running() {
			continue
		}
		errs = append(errs, p.Signal(syscall.SIGINT))
		wait, cancel := context.WithTimeout(ctx, stopLimit)
		if err := p.Wait(wait); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w; log ends:\n%s", p.Name, err, Tail(p.LogPath, 20)))
		}
		cancel()
	}
	left, err := s.Processes()
	if err == nil && len(left) > 0 {
		errs = append(errs, fmt.Errorf("stop cluster: processes outlived it: %v", left), kill9(ctx, s.bin, left))
	}
	return errors.Join(append(errs, err)...)
}
