package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/wasi"
	"github.com/tetratelabs/wazero/api"
)

// maxSpare bounds the parts of closed clones that a snapshot keeps for its next ones.
const maxSpare = 16

// Why a module or an instance of it has no snapshot, beside the module's own reasons.
const (
	reasonGlobal = "global_type" // a mutable global has a type that cannot be read and set
	reasonFiles  = "open_files"  // the guest left descriptors changed when it started
	reasonFresh  = "isolation"   // nobody wants one
)

// snapshot is the state of an instance that was initialised and warmed up. Instances that are its clones begin with it.
type snapshot struct {
	program *program
	key     string
	took    time.Duration

	// reason is why there is none; empty when there is one.
	reason     string
	image      *image
	globals    []uint64
	generators []uint32     // addresses of random generators of the guest
	system     *wasi.System // what clones have their descriptors from
	bound      bool         // the guest has seen the content of mounted files
	boundTo    string       // and then, the key with their places

	mu    sync.Mutex
	users int // pools and instances
	spare []parts
	since time.Time // when it lost its last user
	gone  bool
}

// tellScan says once when resets will be dearer than they should be.
var tellScan sync.Once

// capture makes a snapshot of an instance as it is now. The instance must only be closed after it.
func (in *Instance) capture(spec Spec) (*snapshot, error) {
	p := in.program
	s := &snapshot{program: p, bound: in.touched && len(spec.Mounts) > 0}
	if s.bound {
		s.boundTo = spec.key(true)
	}
	if s.reason = in.obstacle(); s.reason != "" {
		return s, nil
	}
	for _, g := range p.rewritten.Globals {
		s.globals = append(s.globals, in.module.ExportedGlobal(g.Export).Get())
	}
	if pagemap() < 0 {
		tellScan.Do(func() {
			p.engine.log.Warn("pages cannot be scanned (PAGEMAP_SCAN of /proc/self/pagemap, Linux 6.7): a reset throws all of them away")
		})
	}
	in.system.SetStreams(nil, nil, nil)
	in.system.SetEgress(nil)
	in.system.Mark()
	s.system, in.system = in.system, nil
	if err := s.system.LetGo(); err != nil { // a snapshot outlives the pod whose directories these were
		return nil, errors.Join(fmt.Errorf("take snapshot: close mounts: %w", err), s.system.Close())
	}
	if in.memory == nil {
		return s, nil
	}
	mem := in.memory.base[:in.memory.size]
	var err error
	if s.image, err = copyImage(mem); err != nil {
		return nil, errors.Join(fmt.Errorf("take snapshot: %w", err), s.system.Close())
	}
	if _, ok := p.info.ProducedBy("Go"); ok {
		s.generators = findGenerators(mem)
	}
	return s, nil
}

// obstacle tells why the instance cannot be a snapshot.
func (in *Instance) obstacle() string {
	r := in.program.rewritten
	if r.NoSnapshot != "" {
		return r.NoSnapshot
	}
	for _, g := range r.Globals {
		switch g.Type {
		case module.I32, module.I64, module.F32, module.F64:
		default:
			return reasonGlobal
		}
	}
	if !in.system.Pristine() {
		return reasonFiles
	}
	return ""
}

// clone makes an instance in the snapshot's state, of what another has left, if there is something and it may.
func (s *snapshot) clone(ctx context.Context, spec Spec, system *wasi.System, ofParts bool) (*Instance, error) {
	in := s.program.newInstance(ctx, spec)
	if ofParts && s.reuse(in, spec, system) {
		return in, nil
	}
	if err := s.fill(in, spec, system); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (s *snapshot) fill(in *Instance, spec Spec, system *wasi.System) error {
	var err error
	if in.system, err = system.Clone(); err != nil {
		return err
	}
	in.connect(spec)
	s.use(1)
	in.snapshot = s
	if s.image != nil {
		if in.memory, err = newLinear(s.program.info, spec.MemoryLimit, s.image); err != nil {
			return err
		}
	}
	if in.module, err = in.make(&callContext{Context: in.ctx, in: in}); err != nil {
		return fmt.Errorf("make clone: %w", err)
	}
	if s.image != nil {
		if err := in.growTo(s.image.size); err != nil {
			return err
		}
	}
	in.findCounter(in.module)
	in.globals = make([]api.MutableGlobal, len(s.globals))
	for i, g := range s.program.rewritten.Globals {
		var ok bool
		if in.globals[i], ok = in.module.ExportedGlobal(g.Export).(api.MutableGlobal); !ok {
			return fmt.Errorf("make clone: the global %q cannot be set", g.Export)
		}
		in.globals[i].Set(s.globals[i])
	}
	return nil
}

// growTo makes the guest's memory as large as the snapshot's, from a module's own minimum or from what it has grown to.
func (in *Instance) growTo(size uint64) error {
	if in.memory.size == size {
		return nil
	}
	// wazero takes what Reallocate returns, whatever it asked for: so memory can shrink too.
	in.memory.shrink = size
	_, ok := in.module.Memory().Grow(1)
	in.memory.shrink = 0
	if !ok || uint64(in.module.Memory().Size()) != size {
		return errSize
	}
	return nil
}

// errSize says that memory cannot be made the snapshot's size: it is as large as the module allows.
var errSize = errors.New("the memory cannot be given the snapshot's size")

// use counts users.
func (s *snapshot) use(n int) {
	s.mu.Lock()
	s.users += n
	last := s.users == 0
	if last {
		s.since = time.Now()
	}
	s.mu.Unlock()
	if last {
		s.program.engine.keeper.watchSnapshot(s)
	}
}

// close frees what clones are made of.
func (s *snapshot) close() error {
	s.mu.Lock()
	spare := s.spare
	s.spare, s.gone = nil, true
	s.mu.Unlock()
	var errs []error
	for _, p := range spare {
		errs = append(errs, p.close())
	}
	if s.image != nil {
		errs = append(errs, s.image.close())
	}
	if s.system != nil {
		errs = append(errs, s.system.Close())
	}
	return errors.Join(errs...)
}
