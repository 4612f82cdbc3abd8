package ebpfproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// FlowKind says what happened.
type FlowKind string

const (
	FlowConnect FlowKind = "connect" // a connection or a first datagram left its socket
	FlowAccept  FlowKind = "accept"  // … reached its socket
	FlowDenied  FlowKind = "denied"  // a policy was against it
	FlowRefused FlowKind = "refused" // the service has no backend
)

// FlowDirection is from the point of view of the socket that the event is about.
type FlowDirection string

const (
	FlowIngress FlowDirection = "ingress"
	FlowEgress  FlowDirection = "egress"
)

// Flow is one event.
type Flow struct {
	Time        time.Time      `json:"time"`
	Kind        FlowKind       `json:"kind"`
	Direction   FlowDirection  `json:"direction"`
	Protocol    Protocol       `json:"protocol"`
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"` // the backend, where the client asked for a service
	// ServiceAddr is what the client asked for, where that was a service's address.
	ServiceAddr netip.AddrPort `json:"serviceAddr,omitzero"`

	// Names, as far as they are known.
	SourcePod      string `json:"sourcePod,omitempty"`
	DestinationPod string `json:"destinationPod,omitempty"`
	Service        string `json:"service,omitempty"`

	// Lost counts the events between the previous one and this one that found no room.
	Lost uint64 `json:"lost,omitempty"`
}

// The record of bpf/flow.h.
const (
	flowTimeAt        = 0
	flowLostAt        = 8
	flowSourceAt      = 16
	flowDestinationAt = 32
	flowServiceAt     = 48
	flowPortsAt       = 64 // source, destination, service
	flowProtocolAt    = 70
	flowKindAt        = 71
	flowDirectionAt   = 72
	flowServiceIDAt   = 76
	flowSize          = 80
)

var (
	flowKinds      = [...]FlowKind{1: FlowConnect, FlowAccept, FlowDenied, FlowRefused}
	flowDirections = [...]FlowDirection{1: FlowIngress, FlowEgress}
)

// flowRecord is a Flow as the kernel tells it.
type flowRecord struct {
	Flow
	monotonic time.Duration // when, by CLOCK_MONOTONIC
	lost      uint64        // since the maps were made
	service   uint32        // its id
}

var errFlowRecord = errors.New("malformed flow record")

func decodeFlow(raw []byte) (flowRecord, error) {
	if len(raw) != flowSize {
		return flowRecord{}, fmt.Errorf("%w: %d bytes, want %d", errFlowRecord, len(raw), flowSize)
	}
	kind, direction := raw[flowKindAt], raw[flowDirectionAt]
	if kind == 0 || int(kind) >= len(flowKinds) || direction == 0 || int(direction) >= len(flowDirections) {
		return flowRecord{}, fmt.Errorf("%w: kind %d, direction %d", errFlowRecord, kind, direction)
	}
	at := func(addr, port int) netip.AddrPort {
		a := netip.AddrFrom16([16]byte(raw[addr : addr+16])).Unmap()
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(raw[port:]))
	}
	r := flowRecord{
		Flow: Flow{
			Kind:        flowKinds[kind],
			Direction:   flowDirections[direction],
			Protocol:    Protocol(raw[flowProtocolAt]),
			Source:      at(flowSourceAt, flowPortsAt),
			Destination: at(flowDestinationAt, flowPortsAt+2),
		},
		monotonic: time.Duration(binary.NativeEndian.Uint64(raw[flowTimeAt:])),
		lost:      binary.NativeEndian.Uint64(raw[flowLostAt:]),
		service:   binary.NativeEndian.Uint32(raw[flowServiceIDAt:]),
	}
	if service := at(flowServiceAt, flowPortsAt+4); service.Port() != 0 {
		r.ServiceAddr = service
	}
	return r, nil
}
