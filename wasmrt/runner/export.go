package runner

import "github.com/petrelrun/petrel/wasmrt/runner/control"

// maxExportedBytes is where a page of exported containers ends, far below what a frame may be: one container more is at most
// control.MaxStrings and some.
const maxExportedBytes = 1 << 20

// export says how another runner would have to make the containers that have not ended.
func (r *Runner) export(after string) *control.ExportResult {
	ids, more := r.page(after)
	result := &control.ExportResult{More: more}
	size := 0
	for i, id := range ids {
		if size > maxExportedBytes || len(result.Containers) == control.MaxExported {
			result.More = true
			break
		}
		result.Last = ids[i]
		c, err := r.find(id)
		if err != nil {
			continue
		}
		if e, ok := c.export(); ok {
			result.Containers = append(result.Containers, e)
			size += e.Params.Size()
		}
	}
	return result
}

// export answers false when there is nothing to take over.
func (c *container) export() (control.Exported, bool) {
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := control.Exported{Params: *c.params}
	e.Params.MemoryLimit = c.spec.MemoryLimit // it may have been changed
	switch c.status.State {
	case control.StateCreated:
		e.Movable = true
	case control.StateRunning:
		server, ok := c.work.(*httpServer)
		e.Movable = ok && !server.fixed
		e.Running = true
	default: // it has ended, or never was
		return control.Exported{}, false
	}
	return e, true
}
