package runner

import (
	"net/netip"
	"slices"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/front"
)

// addresses are where the container listens by way of the shared sockets.
func (c *container) addresses() []netip.AddrPort {
	c.mu.Lock()
	server, ok := c.work.(*httpServer)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	return server.sharing()
}

// sharedOf answers the sockets that are to get what arrives for the addresses.
func (r *Runner) sharedOf(at []netip.AddrPort) (control.Shared, error) {
	out := control.Shared{Addresses: at}
	for _, a := range at {
		network := front.Network(a)
		if slices.Contains(out.Listeners, network) {
			continue
		}
		file, err := r.front.Listener(network)
		if err != nil {
			control.CloseFiles(out.Files)
			return control.Shared{}, err
		}
		out.Listeners, out.Files = append(out.Listeners, network), append(out.Files, file)
	}
	return out, nil
}

// shared lists who listens at the shared sockets.
func (r *Runner) shared(after string) (*control.SharedResult, error) {
	ids, more := r.page(after)
	result := &control.SharedResult{More: more}
	var all []netip.AddrPort
	for _, id := range ids {
		c, err := r.find(id)
		if err != nil {
			continue
		}
		if at := c.addresses(); len(at) > 0 || more && id == ids[len(ids)-1] { // the last one says where to go on
			result.Containers = append(result.Containers, control.SharedContainer{ID: id, Addresses: at})
			all = append(all, at...)
		}
	}
	shared, err := r.sharedOf(all)
	if err != nil {
		return nil, err
	}
	result.Listeners, result.Files = shared.Listeners, shared.Files
	return result, nil
}

// listen has a container listen at sockets of its own, too: nobody steers any more.
func (r *Runner) listen(id string) error {
	c, err := r.find(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	c.mu.Lock()
	server, ok := c.work.(*httpServer)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	return server.listenToo()
}
