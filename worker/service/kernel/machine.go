package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// Machine says where on this machine the programs are to be.
type Machine struct {
	// Cgroup is the control group whose sockets see the Services; empty for the root of the cgroup2 file system, which
	// covers every program of the machine: pods, their probes, and whoever else asks for a ClusterIP.
	Cgroup string
	// PinDir is where tables and programs outlive this process, on a bpffs; empty for nowhere.
	PinDir string
	// Interfaces are where packets from outside come in; nil where none is to be served.
	Interfaces func() ([]string, error)
	// Opened, when set, opens what else works on the same tables (policies, flows) once they are open; what it answers
	// is called before they are closed. An error of it is one of Open.
	Opened func(ctx context.Context, proxy *ebpfproxy.Proxy) (close func() error, err error)
	Logger *slog.Logger
}

// Machine's programs are a Proxy.
var _ Proxy = (*programs)(nil)

// programs are those for sockets and, beside them, those for packets from outside.
type programs struct {
	machine Machine

	mu     sync.Mutex
	proxy  *ebpfproxy.Proxy
	nat    *ebpfproxy.NAT // nil where outside is not served
	end    context.CancelFunc
	tended chan struct{} // closed when the NAT's loop has ended; nil before it runs
	others func() error  // closes what Opened has opened; nil when there is nothing
}

// Programs prepares the machine's; it does no I/O.
func (m Machine) Programs() Proxy { return &programs{machine: m} }

// Open loads and attaches the programs for sockets; those for packets are attached once there is something to serve.
func (p *programs) Open(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	proxy, err := p.machine.newProxy()
	if err != nil {
		return err
	}
	if err := proxy.Open(ctx); err != nil {
		return err
	}
	p.proxy = proxy
	if err := p.openRest(ctx); err != nil {
		return errors.Join(err, p.close())
	}
	return nil
}

// openRest opens what works on the proxy's tables.
func (p *programs) openRest(ctx context.Context) error {
	if p.machine.Interfaces != nil {
		err := p.openOutside(ctx)
		if err != nil {
			p.nat = nil
		}
		if err != nil && !errors.Is(err, ebpfproxy.ErrUnsupported) {
			return err
		}
		if err != nil { // sockets of the node are worth having alone
			p.machine.Logger.Warn("packets from outside do not reach services", "missing", err)
		}
	}
	if p.machine.Opened == nil {
		return nil
	}
	var err error
	p.others, err = p.machine.Opened(ctx, p.proxy)
	return err
}

func (m *Machine) newProxy() (*ebpfproxy.Proxy, error) {
	cgroup := m.Cgroup
	if cgroup == "" {
		var err error
		if cgroup, err = CgroupRoot(); err != nil {
			return nil, err
		}
	}
	return ebpfproxy.New(ebpfproxy.Config{Logger: m.Logger, CgroupPath: cgroup, PinDir: m.PinDir})
}

func (p *programs) openOutside(ctx context.Context) error {
	nat, err := ebpfproxy.NewNAT(p.proxy, ebpfproxy.NATConfig{Logger: p.machine.Logger})
	if err != nil {
		return err
	}
	p.nat = nat
	return nat.Open(ctx)
}

// Sync implements Proxy.
func (p *programs) Sync(ctx context.Context, services []ebpfproxy.Service) error {
	err := p.proxy.Sync(ctx, services)
	p.serveOutside()
	return err
}

// Update implements Proxy.
func (p *programs) Update(ctx context.Context, set []ebpfproxy.Service, gone []ebpfproxy.Frontend) error {
	return p.proxy.Update(ctx, set, gone)
}

// serveOutside looks after packets from outside, now that the tables say what to do with them.
func (p *programs) serveOutside() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nat == nil || p.tended != nil {
		return
	}
	o := &outside{nat: p.nat, interfaces: p.machine.Interfaces, log: p.machine.Logger}
	o.attach() // who waits for the first Sync finds outside served
	ctx, cancel := context.WithCancel(context.Background())
	p.end, p.tended = cancel, make(chan struct{})
	go func(tended chan struct{}) {
		defer close(tended)
		o.run(ctx)
	}(p.tended)
}

// SetNodeAddresses implements Proxy.
func (p *programs) SetNodeAddresses(addrs []netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.proxy.SetNodeAddresses(addrs); err != nil {
		return err
	}
	if p.nat == nil {
		return nil
	}
	outside := slices.DeleteFunc(slices.Clone(addrs), func(ip netip.Addr) bool { return ip.IsLoopback() || ip.IsLinkLocalUnicast() })
	if err := p.nat.SetAddresses(outside); err != nil {
		return fmt.Errorf("set addresses for outside: %w", err)
	}
	return nil
}

// Close implements Proxy.
func (p *programs) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.close()
}

func (p *programs) close() error {
	if p.proxy == nil {
		return nil
	}
	var errs []error
	if p.tended != nil {
		p.end()
		<-p.tended
	}
	if p.others != nil {
		errs = append(errs, p.others())
	}
	if p.nat != nil {
		errs = append(errs, p.nat.Close())
	}
	errs = append(errs, p.proxy.Close())
	p.proxy, p.nat, p.tended, p.others = nil, nil, nil, nil
	return errors.Join(errs...)
}

// Remove takes away what earlier processes have pinned.
func (m Machine) Remove() error {
	if m.PinDir == "" {
		return nil
	}
	proxy, err := m.newProxy()
	if err != nil {
		return err
	}
	return proxy.Remove()
}

// Stats are the counters of Services; nil when nothing is served.
func (p *programs) Stats() []ebpfproxy.ServiceStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proxy == nil {
		return nil
	}
	return p.proxy.Stats()
}
