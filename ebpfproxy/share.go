package ebpfproxy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
)

// openShared opens the maps of bpf/maps.h that spec declares, at the configured sizes.
func (p *Proxy) openShared(spec *ebpf.CollectionSpec) error {
	sizes := p.cfg.Sizes.maps()
	if err := p.openTableMaps(spec, sizes); err != nil {
		return err
	}
	for name, size := range sizes {
		if p.shared[name] == nil {
			if err := p.openSharedMap(spec.Maps[name], size); err != nil {
				return err
			}
		}
	}
	return nil
}

// openTableMaps opens tableMaps. When not all of them are there, as after a process that ended between two pins, the rest is
// worth nothing, and all are made anew.
func (p *Proxy) openTableMaps(spec *ebpf.CollectionSpec, sizes map[string]int) error {
	fresh := 0
	for _, name := range tableMaps {
		if err := p.openSharedMap(spec.Maps[name], sizes[name]); err != nil {
			return err
		}
		if p.fresh[name] {
			fresh++
		}
	}
	if fresh == 0 || fresh == len(tableMaps) {
		return nil
	}
	return p.resetTables(spec, sizes)
}

// resetTables makes tableMaps anew. Programs that are attached go on with those they have.
func (p *Proxy) resetTables(spec *ebpf.CollectionSpec, sizes map[string]int) error {
	for _, name := range tableMaps {
		ms := spec.Maps[name].Copy()
		ms.MaxEntries = uint32(sizes[name])
		m, err := p.pins.newMap(ms)
		if err != nil {
			return fmt.Errorf("make map %s: %w", name, err)
		}
		if err := p.shared[name].Close(); err != nil {
			return err
		}
		p.shared[name], p.fresh[name] = m, true
	}
	return nil
}

func (p *Proxy) openSharedMap(spec *ebpf.MapSpec, size int) error {
	spec = spec.Copy()
	spec.MaxEntries = uint32(size)
	m, fresh, err := p.pins.openMap(spec)
	if err != nil {
		return fmt.Errorf("open map %s: %w", spec.Name, err)
	}
	p.shared[spec.Name] = m
	p.fresh[spec.Name] = fresh
	return nil
}

// loadShared loads the programs of spec. Maps that are open already are shared by name; others are opened, pinned
// beside them, and shared from then on. The caller closes the collection, whose maps are handles of its own.
func (p *Proxy) loadShared(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	replace := map[string]*ebpf.Map{}
	for name, ms := range spec.Maps {
		if strings.HasPrefix(name, ".") {
			continue // variables of this object
		}
		m, err := p.sharedMap(ms)
		if err != nil {
			return nil, err
		}
		ms.MaxEntries = m.MaxEntries()
		replace[name] = m
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
}

func (p *Proxy) sharedMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	if m := p.shared[spec.Name]; m != nil {
		return m, nil
	}
	if err := p.openSharedMap(spec, int(spec.MaxEntries)); err != nil {
		return nil, err
	}
	return p.shared[spec.Name], nil
}

func (p *Proxy) closeShared() error {
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	var err error
	for name, m := range p.shared {
		err = errors.Join(err, m.Close())
		delete(p.shared, name)
	}
	return err
}
