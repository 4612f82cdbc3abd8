package ebpfproxy

import "fmt"

// NATStats count packets, unless they say otherwise, since the programs' maps were made.
type NATStats struct {
	Forwarded        uint64 // to a backend
	Replied          uint64 // back to a client
	Connections      uint64 // connections opened
	Refused          uint64 // answered with a reset or an unreachable
	Dropped          uint64 // no backend and told to drop, or no address of the node's to answer from
	Denied           uint64 // from out of the service's source ranges, and dropped
	Exhausted        uint64 // dropped: all ports towards that backend are taken
	Reused           uint64 // connections that got the port of one that was closing
	Full             uint64 // dropped: the table took no entry
	Healed           uint64 // entries made again that the table had thrown away
	Errors           uint64 // ICMP errors translated
	FragmentsUnknown uint64 // fragments whose first was not seen; left to the stack
	ThroughStack     uint64 // sent through the stack, which fragments or answers with an error
	Malformed        uint64 // left to the stack
	Entries          int    // in the table at the last sweep: two a connection
}

// Stats reads the counters.
func (n *NAT) Stats() (NATStats, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.programs == nil {
		return NATStats{}, ErrClosed
	}
	return n.stats()
}

func (n *NAT) stats() (NATStats, error) {
	var s NATStats
	m := n.programs.Maps["petrel_natstat"]
	// In the order of enum nat_stat.
	for i, to := range []*uint64{
		&s.Forwarded, &s.Replied, &s.Connections, &s.Refused, &s.Dropped, &s.Denied, &s.Exhausted, &s.Reused, &s.Full,
		&s.Healed, &s.Errors, &s.FragmentsUnknown, &s.ThroughStack, &s.Malformed,
	} {
		var perCPU []uint64
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return s, fmt.Errorf("read nat counter %d: %w", i, err)
		}
		for _, v := range perCPU {
			*to += v
		}
	}
	s.Entries = n.entries
	return s, nil
}
