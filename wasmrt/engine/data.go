package engine

import (
	"context"
	"sync"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero/api"
)

// kept is what a program has beside its code.
type kept struct {
	rate      rate
	snapshots snapshots

	dataMu sync.Mutex
	data   *image
}

// dataImage returns the memory that instances begin with: the module's active data in its places, written once for all
// of them. It is nil when the data was left in the module.
func (p *program) dataImage() (*image, error) {
	p.dataMu.Lock()
	defer p.dataMu.Unlock()
	if p.data != nil || len(p.rewritten.Data) == 0 {
		return p.data, nil
	}
	size := uint64(p.info.MemoryMinPages) * module.PageSize
	m, err := newImage(size, func(b []byte) error {
		for _, s := range p.rewritten.Data {
			if uint64(s.Offset)+uint64(len(s.Bytes)) > size {
				return p.outOfBounds()
			}
			copy(b[s.Offset:], s.Bytes)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.data, p.rewritten.Data = m, nil
	return m, nil
}

// outOfBounds is the trap of a module whose data does not fit its memory.
func (p *program) outOfBounds() error { return parseTrap(errDataBounds.Error(), p.info.Name) }

// start calls the start function, when it was taken out of the module.
func (p *program) start(ctx context.Context, m api.Module) error {
	if p.rewritten.Start == "" {
		return nil
	}
	_, err := m.ExportedFunction(p.rewritten.Start).Call(ctx)
	return err
}

// closeKept frees it all.
func (p *program) closeKept() error {
	p.snapshots.close()
	p.dataMu.Lock()
	defer p.dataMu.Unlock()
	if p.data == nil {
		return nil
	}
	return p.data.close()
}
