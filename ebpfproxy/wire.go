package ebpfproxy

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// Constants of bpf/maps.h.
const (
	flagAffinity     = 1
	flagMaglev       = 2
	flagDrop         = 4
	flagSourceRanges = 8
	flagKeepClient   = 16
	flagDraining     = 32

	stateFree     = 0
	stateActive   = 1
	stateDraining = 2
	stateUnready  = 3
	stateLeaving  = 4
	stateDead     = 5

	backendLocal = 1
)

// words is an address in the form of the maps: 16 bytes in the network's order.
func words(a netip.Addr) (w [4]uint32) {
	b := a.As16()
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

func addrOf(w [4]uint32) netip.Addr {
	var b [16]byte
	for i := range w {
		binary.NativeEndian.PutUint32(b[4*i:], w[i])
	}
	return netip.AddrFrom16(b).Unmap()
}

// swap turns a port between the host's order and the network's.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

func keyOf(f Frontend, scope Scope) bpf.SockSvcKey {
	return bpf.SockSvcKey{Addr: words(f.Addr), Port: swap(f.Port), Proto: uint8(f.Protocol), Scope: uint8(scope)}
}

func frontendOf(k *bpf.SockSvcKey) Frontend {
	return Frontend{Addr: addrOf(k.Addr), Port: swap(k.Port), Protocol: Protocol(k.Proto), Scope: Scope(k.Scope)}
}

func rangeKey(svc uint32, r netip.Prefix) bpf.SockRangeKey {
	bits := r.Bits()
	if r.Addr().Is4() {
		bits += 96
	}
	return bpf.SockRangeKey{Prefixlen: uint32(32 + bits), Svc: svc, Addr: words(r.Addr())}
}

func kernelState(s BackendState) uint8 {
	return [...]uint8{Active: stateActive, Draining: stateDraining, Unready: stateUnready}[s]
}

func backendState(state uint8) BackendState {
	return [...]BackendState{stateActive: Active, stateDraining: Draining, stateUnready: Unready}[state]
}

// setWord changes port, state and flags of an entry at once, so that no program reads a part of them.
func setWord(b *bpf.SockBackend, port uint16, state, flags uint8) {
	var w [4]byte
	binary.NativeEndian.PutUint16(w[:], swap(port))
	w[2], w[3] = state, flags
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b.Port)), binary.NativeEndian.Uint32(w[:]))
}
