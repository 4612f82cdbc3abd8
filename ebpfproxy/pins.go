package ebpfproxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// pins is where maps and links outlive the process: <root>/v<schema>/{maps,links}/<name>. Without a root nothing does.
type pins struct {
	root    string
	schema  int
	others  []int            // schemas of what other versions left, the newest first
	carried map[int][]string // maps that are taken over from them
}

const (
	mapsDir  = "maps"
	linksDir = "links"
)

// openPins makes the folders and finds what an earlier version left.
func openPins(root string, schema int, carried map[int][]string) (pins, error) {
	p := pins{root: root, schema: schema, carried: carried}
	if root == "" {
		return p, nil
	}
	for _, dir := range []string{mapsDir, linksDir} {
		if err := os.MkdirAll(filepath.Join(p.dir(schema), dir), 0o700); err != nil {
			return p, fmt.Errorf("make pin folder: %w", err)
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return p, fmt.Errorf("look at pin folder %s: %w", root, err)
	}
	if fs.Type != unix.BPF_FS_MAGIC {
		return p, fmt.Errorf("%w: pin folder %s is not on a bpf file system", ErrUnsupported, root)
	}
	versions, err := p.versions()
	if err != nil {
		return p, err
	}
	for _, v := range slices.Backward(versions) {
		if v != schema {
			p.others = append(p.others, v)
		}
	}
	return p, nil
}

func (p pins) dir(schema int) string { return filepath.Join(p.root, "v"+strconv.Itoa(schema)) }

func (p pins) path(kind, name string) string { return p.pathOf(p.schema, kind, name) }

func (p pins) pathOf(schema int, kind, name string) string {
	return filepath.Join(p.dir(schema), kind, name)
}

// versions answers the schemas that have a folder, in order.
func (p pins) versions() ([]int, error) {
	list, err := os.ReadDir(p.root)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	var versions []int
	for _, e := range list {
		number, ok := strings.CutPrefix(e.Name(), "v")
		if v, err := strconv.Atoi(number); ok && err == nil && v > 0 {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// openMap answers the map of spec: the pinned one if there is one, with its content also where its size is to be another,
// or a new one, also where the pinned one is of no use. fresh says that it is new.
func (p pins) openMap(spec *ebpf.MapSpec) (m *ebpf.Map, fresh bool, err error) {
	if p.root == "" {
		m, err := p.newMap(spec)
		return m, true, err
	}
	if err := p.carryOver(spec.Name); err != nil {
		return nil, false, err
	}
	m, err = p.takeMap(p.path(mapsDir, spec.Name), spec)
	if err == nil {
		return m, false, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ebpf.ErrMapIncompatible) {
		return nil, false, err
	}
	m, err = p.newMap(spec)
	return m, true, err
}

// newMap makes an empty map, pinned in place of what may be there.
func (p pins) newMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(spec)
	if err != nil || p.root == "" {
		return m, err
	}
	return m, pinMap(m, p.path(mapsDir, spec.Name))
}

// carryOver moves a map to where this version looks for it, when an other version left one of the same layout.
func (p pins) carryOver(name string) error {
	to := p.path(mapsDir, name)
	for _, v := range p.others {
		if _, err := os.Lstat(to); err == nil {
			return nil
		}
		if !slices.Contains(p.carried[v], name) && !slices.Contains(steady, name) {
			continue
		}
		if err := os.Rename(p.pathOf(v, mapsDir, name), to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("carry map %s over: %w", name, err)
		}
	}
	return nil
}

// takeMap loads a pinned map, or puts a copy of the size that spec asks for in its place.
func (p pins) takeMap(path string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	old, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return nil, err
	}
	if spec.Compatible(old) == nil {
		return old, nil
	}
	defer old.Close()
	same := spec.Copy()
	same.MaxEntries = old.MaxEntries()
	if err := same.Compatible(old); err != nil {
		return nil, fmt.Errorf("take over pinned map %s: %w", path, err)
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, err
	}
	if err := copyMap(m, old); err != nil {
		m.Close()
		return nil, fmt.Errorf("copy pinned map %s: %w", path, err)
	}
	return m, pinMap(m, path)
}

// pinMap puts a map that has no pin at path, in place of what is there.
func pinMap(m *ebpf.Map, path string) error {
	fresh := path + "_new" // the file system takes no dots
	err := os.Remove(fresh)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, m.Close())
	}
	if err := m.Pin(fresh); err != nil {
		return errors.Join(fmt.Errorf("pin map %s: %w", path, err), m.Close())
	}
	if err := os.Rename(fresh, path); err != nil {
		return errors.Join(fmt.Errorf("pin map %s: %w", path, err), m.Close())
	}
	return nil
}

// copyMap fills to from from. An array that shrinks must have nothing beyond its new end.
func copyMap(to, from *ebpf.Map) error {
	key := make([]byte, from.KeySize())
	value := make([]byte, from.ValueSize())
	zero := make([]byte, from.ValueSize())
	it := from.Iterate()
	for it.Next(&key, &value) {
		if from.Type() == ebpf.Array && slices.Equal(value, zero) {
			continue
		}
		if err := to.Put(key, value); err != nil {
			return fmt.Errorf("the content does not fit %d entries: %w", to.MaxEntries(), err)
		}
	}
	return it.Err()
}

// dropOthers removes what other versions left and nobody needs any more: their maps, which the programs that still run
// hold by themselves, and the folders whose links were all taken over.
func (p pins) dropOthers() error {
	err := p.keepCarried()
	for _, v := range p.others {
		err = errors.Join(err, os.RemoveAll(p.pathOf(v, mapsDir, "")))
		for _, folder := range []string{p.pathOf(v, linksDir, ""), p.dir(v)} {
			if e := os.Remove(folder); e != nil && !errors.Is(e, unix.ENOTEMPTY) && !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// keepCarried brings over the maps that are carried but that nobody has opened yet: other parts of the package open theirs
// later.
func (p pins) keepCarried() error {
	var errs []error
	for _, v := range p.others {
		for _, name := range append(slices.Clone(steady), p.carried[v]...) {
			errs = append(errs, p.carryOver(name))
		}
	}
	return errors.Join(errs...)
}
