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
	}
	if p.pins.root != "" {
		if err := l.Pin(p.pins.path(linksDir, name)); err != nil {
			return errors.Join(fmt.Errorf("pin link %s: %w", name, err), l.Close())
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
	return errors.Join(err, p.pins.dropOlder())
}

// takeLink answers the pinned link of that name with prog in it, or nil when there is none that serves.
func (p *Proxy) takeLink(name string, prog *ebpf.Program, same func(*link.Info) bool) (link.Link, error) {
	if p.pins.root == "" {
		return nil, nil
	}
	paths := []string{p.pins.path(linksDir, name)}
	if p.pins.older != 0 {
		paths = append(paths, p.pins.olderPath(linksDir, name))
	}
	for _, path := range paths {
		l, err := link.LoadPinnedLink(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("take over link %s: %w", name, err)
		}
		if info, err := l.Info(); err == nil && same(info) {
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

// hasLinks: an earlier process left programs that serve.
func (p pins) hasLinks() bool {
	if p.root == "" {
		return false
	}
	dirs := []string{p.path(linksDir, "")}
	if p.older != 0 {
		dirs = append(dirs, p.olderPath(linksDir, ""))
	}
	for _, dir := range dirs {
		if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
			return true
		}
	}
	return false
}
