package ebpfproxy

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
)

// policyHooks are the programs of bpf/policy.bpf.c, by the names of their links.
var policyHooks = []struct {
	link, program string
	attach        ebpf.AttachType
}{
	{"policy_refuse4", "petrel_refuse4", ebpf.AttachCGroupInet4Connect},
	{"policy_refuse6", "petrel_refuse6", ebpf.AttachCGroupInet6Connect},
	{"policy_egress", "petrel_egress", ebpf.AttachCGroupInetEgress},
	{"policy_ingress", "petrel_ingress", ebpf.AttachCGroupInetIngress},
}

// hook attaches the programs of the control group while there is something for them to do, and detaches them when there
// is not: they cost each packet of the node.
//
// Until the first Sync, programs of another version's schema enforce what they know: this one's maps are empty.
func (e *Enforcer) hook(collection *ebpf.Collection) error {
	if !e.synced && e.othersServe() {
		return nil
	}
	if len(e.endpoints.have) == 0 && e.listeners == 0 {
		return e.unhook()
	}
	if e.attached {
		return nil
	}
	for _, hook := range policyHooks {
		if err := e.cfg.Proxy.attachCgroup(hook.link, hook.attach, collection.Programs[hook.program]); err != nil {
			return errors.Join(err, e.unhook())
		}
	}
	e.attached = true
	return nil
}

// unhook also ends what an earlier process left attached, as when it was killed while somebody listened.
func (e *Enforcer) unhook() error {
	e.attached = false
	p := e.cfg.Proxy
	var err error
	for _, hook := range policyHooks {
		err = errors.Join(err, p.release(hook.link))
		for _, path := range e.pinned(hook.link) {
			err = errors.Join(err, dropPinned(path))
		}
	}
	return err
}

// pinned are the paths where a link of that name may be, of this version and of others.
func (e *Enforcer) pinned(name string) (paths []string) {
	p := e.cfg.Proxy.pins
	if p.root == "" {
		return nil
	}
	for _, schema := range append([]int{p.schema}, p.others...) {
		paths = append(paths, p.pathOf(schema, linksDir, name))
	}
	return paths
}

// othersServe: programs of another version's schema are attached.
func (e *Enforcer) othersServe() bool {
	paths := e.pinned(policyHooks[0].link)
	return len(paths) > 0 && slices.ContainsFunc(paths[1:], func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// listen has the programs attached for flows, and answers the maps that these are read with.
func (e *Enforcer) listen() (conf, ring *ebpf.Map, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.collection == nil {
		return nil, nil, fmt.Errorf("listen to flows: %w", ErrClosed)
	}
	e.listeners++
	if err := e.hook(e.collection); err != nil {
		e.listeners--
		return nil, nil, fmt.Errorf("listen to flows: %w", err)
	}
	return e.collection.Maps[mapFlowConf], e.collection.Maps[mapFlows], nil
}

func (e *Enforcer) unlisten() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners--
	if e.collection == nil {
		return nil // whoever closed it settled what stays attached
	}
	return e.hook(e.collection)
}
