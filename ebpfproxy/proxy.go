package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// Proxy keeps services in the kernel. Its methods may be called from several goroutines.
type Proxy struct {
	cfg Config

	// Tests say which schema this is, and what it carries.
	schema  int
	carried map[int][]string

	pins     pins
	programs *ebpf.Collection
	handover bool // programs of an earlier process serve, with their tables, until the first Sync

	linkMu sync.Mutex // guards links and shared, which other parts of the package add to
	links  map[string]link.Link
	shared map[string]*ebpf.Map
	fresh  map[string]bool

	mu sync.RWMutex // guards all below
	*tables

	closing sync.Mutex
	reaper  reaper
}

// socketHooks are the programs that see a socket's calls, by the name of program and link.
var socketHooks = map[string]ebpf.AttachType{
	"petrel_connect4": ebpf.AttachCGroupInet4Connect,
	"petrel_connect6": ebpf.AttachCGroupInet6Connect,
	"petrel_sendmsg4": ebpf.AttachCGroupUDP4Sendmsg,
	"petrel_sendmsg6": ebpf.AttachCGroupUDP6Sendmsg,
	"petrel_recvmsg4": ebpf.AttachCGroupUDP4Recvmsg,
	"petrel_recvmsg6": ebpf.AttachCGroupUDP6Recvmsg,
	"petrel_getpeer4": ebpf.AttachCgroupInet4GetPeername,
	"petrel_getpeer6": ebpf.AttachCgroupInet6GetPeername,
}

// New answers a Proxy that has done nothing yet.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure proxy: %w", err)
	}
	return &Proxy{
		cfg:     cfg.withDefaults(),
		schema:  schemaVersion,
		carried: carried,
		links:   map[string]link.Link{},
		shared:  map[string]*ebpf.Map{},
		fresh:   map[string]bool{},
	}, nil
}

// Open loads the programs and attaches them, or takes over what an earlier process pinned: its table serves until the
// first Sync says otherwise. ErrUnsupported is in the error where the machine cannot do this. A Proxy that was closed, or
// did not open, may be opened again.
func (p *Proxy) Open(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tables != nil {
		return errors.New("open proxy: it is open")
	}
	if err := p.open(ctx); err != nil {
		p.tables = nil
		return errors.Join(unsupported(fmt.Errorf("open proxy: %w", err)), p.letGo())
	}
	p.reaper.start(p)
	return nil
}

func (p *Proxy) open(ctx context.Context) error {
	if err := checkCgroup(p.cfg.CgroupPath); err != nil {
		return err
	}
	var err error
	if p.pins, err = openPins(p.cfg.PinDir, p.schema, p.carried); err != nil {
		return err
	}
	spec, err := bpf.LoadSock()
	if err != nil {
		return fmt.Errorf("read socket programs: %w", err)
	}
	if err := spec.Variables[bpf.SockVarPetrelHome].Set(netnsCookie()); err != nil {
		return fmt.Errorf("tell programs the network namespace: %w", err)
	}
	if err := p.openShared(spec); err != nil {
		return err
	}
	if p.tables, err = p.openOrReset(spec); err != nil {
		return err
	}
	if p.programs, err = p.loadShared(spec); err != nil {
		return fmt.Errorf("load socket programs: %w", err)
	}
	p.reaper.load(p)
	// Programs with other tables than these serve on until a Sync has filled these.
	own, others := p.pins.serving()
	if p.handover = others || own && p.fresh["petrel_svc"]; p.handover {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.attach()
}

// openOrReset reads the tables that were taken over. What does not fit together is made anew, like a first start.
func (p *Proxy) openOrReset(spec *ebpf.CollectionSpec) (*tables, error) {
	t, err := openTables(p.shared, p.cfg.Sizes, time.Now)
	if !errors.Is(err, errCorrupt) {
		return t, err
	}
	p.cfg.Logger.Warn("pinned tables are of no use and start empty", "err", err)
	if err := p.resetTables(spec, p.cfg.Sizes.maps()); err != nil {
		return nil, err
	}
	return openTables(p.shared, p.cfg.Sizes, time.Now)
}

// attach puts the programs in place, each in one step, and lets go of what they took over from.
func (p *Proxy) attach() error {
	for name, hook := range socketHooks {
		if err := p.attachCgroup(name, hook, p.programs.Programs[name]); err != nil {
			return err
		}
	}
	p.handover = false
	return p.pins.dropOthers()
}

func checkCgroup(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("look at cgroup %s: %w", path, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("%w: %s is not on a cgroup2 file system", ErrUnsupported, path)
	}
	return nil
}

// Close ends what the process does. What is pinned serves on; the rest is detached.
func (p *Proxy) Close() error {
	p.closing.Lock()
	defer p.closing.Unlock()
	p.reaper.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.letGo()
	p.tables = nil
	return err
}

func (p *Proxy) letGo() error {
	errs := []error{p.closeLinks(), p.reaper.close()}
	if p.programs != nil {
		p.programs.Close()
		p.programs = nil
	}
	if p.tables != nil {
		errs = append(errs, p.tables.close())
	}
	return errors.Join(append(errs, p.closeShared())...)
}

// Remove detaches everything, also what earlier processes pinned, and closes the Proxy. It needs no Open.
func (p *Proxy) Remove() error {
	p.linkMu.Lock()
	names := make([]string, 0, len(p.links))
	for name := range p.links {
		names = append(names, name)
	}
	p.linkMu.Unlock()
	var errs []error
	for _, name := range names {
		errs = append(errs, p.release(name))
	}
	errs = append(errs, p.Close())
	if p.cfg.PinDir != "" {
		errs = append(errs, removePins(p.cfg.PinDir))
	}
	return errors.Join(errs...)
}

// removePins ends the links that are pinned below root and removes all versions, and root when nothing else is in it.
func removePins(root string) error {
	versions, err := (pins{root: root}).versions()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, v := range versions {
		dir := (pins{root: root}).dir(v)
		list, readErr := os.ReadDir(filepath.Join(dir, linksDir))
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			err = errors.Join(err, readErr)
		}
		for _, e := range list {
			if l, loadErr := link.LoadPinnedLink(filepath.Join(dir, linksDir, e.Name()), nil); loadErr == nil {
				err = errors.Join(err, detach(l), l.Close())
			}
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if rmErr := os.Remove(root); rmErr != nil && !errors.Is(rmErr, unix.ENOTEMPTY) && !errors.Is(rmErr, unix.EBUSY) {
		err = errors.Join(err, rmErr)
	}
	return err
}

// SetNodeAddresses says which addresses node ports answer on, in place of those said before.
func (p *Proxy) SetNodeAddresses(addrs []netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tables == nil {
		return ErrClosed
	}
	return p.setNodeAddresses(addrs)
}

// Sync makes the table hold these services and no others. Differences are found inside. Services that cannot be served
// as given (ErrInvalid) or find no room (FullError) are told of when the others serve.
func (p *Proxy) Sync(ctx context.Context, services []Service) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tables == nil {
		return ErrClosed
	}
	err := p.sync(ctx, services)
	p.reaper.wake()
	if p.handover && ctx.Err() == nil {
		err = errors.Join(err, p.attach())
	}
	return err
}

// Update sets some services and removes others, and leaves the rest as it is. Errors are those of Sync.
func (p *Proxy) Update(ctx context.Context, set []Service, gone []Frontend) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tables == nil {
		return ErrClosed
	}
	err := p.update(ctx, set, gone)
	p.reaper.wake()
	return err
}
