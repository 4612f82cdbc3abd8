package ebpfproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// policyDeviceHooks are the programs of a pod's interface, by the name of their link up to the interface's index.
var policyDeviceHooks = []struct {
	name, program string
	attach        ebpf.AttachType
}{
	{"policy_frompod_", "petrel_frompod", ebpf.AttachTCXIngress},
	{"policy_topod_", "petrel_topod", ebpf.AttachTCXEgress},
}

// SetDevices guards the node's ends of pods' interfaces, and only these: in the network namespace of the calling thread,
// by name, with the addresses that the pod behind each has. What a pod sends from another address is dropped, so that
// none can speak as another. Policies hold for sockets without it; with it they hold for packet sockets too, except for
// TCP segments and ICMP messages that begin nothing.
//
// Interfaces that are not there, or cannot be guarded, are in the error when the others are.
func (e *Enforcer) SetDevices(devices map[string][]netip.Addr) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.collection == nil {
		return fmt.Errorf("guard interfaces: %w", ErrClosed)
	}
	var errs []error
	owned := map[bpf.PolicyDeviceKey]uint32{}
	want := map[int]bool{}
	for name, addrs := range devices {
		dev, err := net.InterfaceByName(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("guard interface %s: %w", name, err))
			continue
		}
		want[dev.Index] = true
		for _, addr := range addrs {
			key := bpf.PolicyDeviceKey{Ifindex: uint32(dev.Index)}
			key.Addr.Word = words(addr)
			owned[key] = 1
		}
	}
	// An interface's addresses are there before the program that asks for them.
	errs = append(errs, e.owned.put(owned))
	for index := range want {
		if err := e.guard(index); err != nil {
			errs = append(errs, unsupported(fmt.Errorf("guard interface %d: %w", index, err)), e.unguard(index))
		}
	}
	for index := range e.guarded {
		if !want[index] {
			errs = append(errs, e.unguard(index))
		}
	}
	return errors.Join(append(errs, e.dropStaleGuards(want), e.owned.drop(owned))...)
}

func (e *Enforcer) guard(index int) error {
	if e.guarded[index] {
		return nil
	}
	same := func(info *link.Info) bool {
		tcx := info.TCX()
		return tcx != nil && int(tcx.Ifindex) == index
	}
	for _, h := range policyDeviceHooks {
		program := e.collection.Programs[h.program]
		err := e.cfg.Proxy.hold(h.name+strconv.Itoa(index), program, same, func() (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Interface: index, Program: program, Attach: h.attach})
		})
		if err != nil {
			return err
		}
	}
	e.guarded[index] = true
	return nil
}

func (e *Enforcer) unguard(index int) error {
	delete(e.guarded, index)
	var err error
	for _, h := range policyDeviceHooks {
		err = errors.Join(err, e.cfg.Proxy.release(h.name+strconv.Itoa(index)))
	}
	return err
}

// dropStaleGuards ends what an earlier process pinned for interfaces that are gone, or are nobody's now.
func (e *Enforcer) dropStaleGuards(want map[int]bool) error {
	var errs []error
	for _, dir := range e.pinned("") {
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("list pinned links: %w", err))
		}
		for _, entry := range list {
			if index, ok := policyDeviceIndex(entry.Name()); ok && !want[index] {
				errs = append(errs, dropPinned(filepath.Join(dir, entry.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

func policyDeviceIndex(name string) (int, bool) {
	for _, h := range policyDeviceHooks {
		if number, ok := strings.CutPrefix(name, h.name); ok {
			index, err := strconv.Atoi(number)
			return index, err == nil
		}
	}
	return 0, false
}
