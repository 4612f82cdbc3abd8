package ebpfproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// natHooks are the programs of an interface, by the name of their link up to the interface's index. What goes out comes
// first: a connection must not begin where its answers would not be changed back.
var natHooks = []struct {
	name, program string
	attach        ebpf.AttachType
}{
	{"nat_out_", "petrel_nat_out", ebpf.AttachTCXEgress},
	{"nat_in_", "petrel_nat_in", ebpf.AttachTCXIngress},
}

// hardwareLen is of an Ethernet address.
const hardwareLen = 6

// SetInterfaces attaches the programs to the interfaces of these names, in the network namespace of the calling thread,
// and detaches them from all others. Those that are not there, or are of no use, are in the error when the others are
// attached; Run looks for them again.
func (n *NAT) SetInterfaces(names []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.programs == nil {
		return ErrClosed
	}
	n.interfaces = map[string]bool{}
	for _, name := range names {
		n.interfaces[name] = true
	}
	return n.attach()
}

// attach brings what is attached in line with what is wanted.
func (n *NAT) attach() error {
	var errs []error
	want := map[int]string{}
	for name := range n.interfaces {
		i, err := ethernet(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		want[i.Index] = name
	}
	for index := range n.attached {
		if _, ok := want[index]; !ok {
			errs = append(errs, n.detach(index))
		}
	}
	for index, name := range want {
		if _, ok := n.attached[index]; ok {
			continue
		}
		if err := n.attachTo(index); err != nil {
			errs = append(errs, unsupported(fmt.Errorf("attach to interface %s: %w", name, err)), n.detach(index))
			continue
		}
		n.attached[index] = name
	}
	return errors.Join(append(errs, n.dropStale(want))...)
}

// ethernet finds an interface that the programs can work on.
func ethernet(name string) (*net.Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	if len(i.HardwareAddr) != hardwareLen {
		return nil, fmt.Errorf("%w: interface %s carries no Ethernet frames", ErrUnsupported, name)
	}
	return i, nil
}

func (n *NAT) attachTo(index int) error {
	same := func(info *link.Info) bool {
		tcx := info.TCX()
		return tcx != nil && int(tcx.Ifindex) == index
	}
	for _, h := range natHooks {
		prog := n.programs.Programs[h.program]
		err := n.proxy.hold(h.name+strconv.Itoa(index), prog, same, func() (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: h.attach})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// detach takes the programs off an interface, the incoming one first.
func (n *NAT) detach(index int) error {
	delete(n.attached, index)
	var errs []error
	for i := len(natHooks) - 1; i >= 0; i-- {
		errs = append(errs, n.proxy.release(natHooks[i].name+strconv.Itoa(index)))
	}
	return errors.Join(errs...)
}

// dropStale detaches what an earlier process pinned for interfaces that are not wanted, or are gone.
func (n *NAT) dropStale(want map[int]string) error {
	p := n.proxy
	if p.pins.root == "" {
		return nil
	}
	var errs []error
	for _, schema := range append([]int{p.pins.schema}, p.pins.others...) {
		dir := p.pins.pathOf(schema, linksDir, "")
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("list pinned links: %w", err))
		}
		for _, e := range list {
			if index, ok := natLinkIndex(e.Name()); ok && want[index] == "" {
				errs = append(errs, dropPinned(filepath.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

func natLinkIndex(name string) (int, bool) {
	for _, h := range natHooks {
		if number, ok := strings.CutPrefix(name, h.name); ok {
			index, err := strconv.Atoi(number)
			return index, err == nil
		}
	}
	return 0, false
}

func dropPinned(path string) error {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop pinned link: %w", err)
	}
	return errors.Join(detach(l), l.Unpin(), l.Close())
}
