package ebpfproxy

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attachCgroup runs prog for the sockets of Config.CgroupPath. See hold for name.
func (p *Proxy) attachCgroup(name string, attach ebpf.AttachType, prog *ebpf.Program) error {
	var st unix.Stat_t
	if err := unix.Stat(p.cfg.CgroupPath, &st); err != nil {
		return fmt.Errorf("look at cgroup %s: %w", p.cfg.CgroupPath, err)
	}
	same := func(info *link.Info) bool {
		cg := info.Cgroup()
		return cg != nil && cg.CgroupId == st.Ino
	}
	return p.hold(name, prog, same, func() (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: p.cfg.CgroupPath, Attach: attach, Program: prog})
	})
}

// hold keeps a program attached under a name. A link that an earlier process pinned by that name, and of which same says
// that it is at the right place, gets prog in one atomic step; otherwise attach makes a new one, which is pinned.
func (p *Proxy) hold(name string, prog *ebpf.Program, same func(*link.Info) bool, attach func() (link.Link, error)) error {
	l, err := p.takeLink(name, prog, same)
	if err != nil {
		return err
	}
	if l == nil {
		if l, err = attach(); err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		if err := p.pinLink(l, name); err != nil {
			return err
		}
	}
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	if old := p.links[name]; old != nil {
		err = old.Close()
	}
	p.links[name] = l
	if p.handover {
		return err // an earlier process' maps may be wanted yet
	}
	return errors.Join(err, p.pins.dropOthers())
}

// pinLink puts a link where this version looks for it, in one step from where it may be.
func (p *Proxy) pinLink(l link.Link, name string) error {
	if p.pins.root == "" {
		return nil
	}
	if err := l.Pin(p.pins.path(linksDir, name)); err != nil {
		return errors.Join(fmt.Errorf("pin link %s: %w", name, err), l.Close())
	}
	return nil
}

// takeLink answers the pinned link of that name with prog in it, or nil when there is none that serves. The pin is moved
// before the program changes: while a link is in another version's folder, that version's tables are the ones that serve.
func (p *Proxy) takeLink(name string, prog *ebpf.Program, same func(*link.Info) bool) (link.Link, error) {
	if p.pins.root == "" {
		return nil, nil
	}
	for _, v := range append([]int{p.pins.schema}, p.pins.others...) {
		l, err := link.LoadPinnedLink(p.pins.pathOf(v, linksDir, name), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("take over link %s: %w", name, err)
		}
		if info, err := l.Info(); err == nil && same(info) {
			if err := p.pinLink(l, name); err != nil {
				return nil, err
			}
			// A link whose cgroup or interface went away cannot be updated: it is replaced.
			if err := l.Update(prog); err == nil {
				return l, nil
			}
		}
		if err := errors.Join(l.Unpin(), l.Close()); err != nil {
			return nil, fmt.Errorf("drop link %s: %w", name, err)
		}
	}
	return nil, nil
}

// release detaches what hold keeps under a name, and forgets its pin.
func (p *Proxy) release(name string) error {
	p.linkMu.Lock()
	l := p.links[name]
	delete(p.links, name)
	p.linkMu.Unlock()
	if l == nil {
		return nil
	}
	return errors.Join(detach(l), l.Unpin(), l.Close())
}

// detach ends a link now; closing the last descriptor would end it some time later.
func detach(l link.Link) error {
	err := l.Detach()
	if errors.Is(err, unix.ENOLINK) || errors.Is(err, link.ErrNotSupported) {
		return nil
	}
	return err
}

// closeLinks lets go of all links; those that are pinned live on.
func (p *Proxy) closeLinks() error {
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	var err error
	for name, l := range p.links {
		err = errors.Join(err, l.Close())
		delete(p.links, name)
	}
	return err
}

// serving tells whether socket programs of an earlier process serve, with this version's tables or with another's.
func (p pins) serving() (own, others bool) {
	if p.root == "" {
		return false, false
	}
	for name := range socketHooks {
		if _, err := os.Lstat(p.path(linksDir, name)); err == nil {
			own = true
		}
		for _, v := range p.others {
			if _, err := os.Lstat(p.pathOf(v, linksDir, name)); err == nil {
				others = true
			}
		}
	}
	return own, others
}
