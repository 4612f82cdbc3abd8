package service

import "slices"

// compilePort chooses who takes the port's connections, for each family by itself.
func compilePort(svc *Service, port *Port, all []endpoint, here Place) {
	outside := port.NodePort != 0 || len(svc.ExternalIPs) > 0 || len(svc.LoadBalancer) > 0
	// What is reached from outside uses all endpoints even if its policy is Local: clients on this node are not outside.
	useCluster := !svc.InternalLocal || outside
	useLocal := svc.InternalLocal || svc.ExternalLocal && outside
	split := slices.IndexFunc(all, func(e endpoint) bool { return e.Addr.Addr().Is6() })
	if split < 0 {
		split = len(all)
	}
	for _, family := range [][]endpoint{all[:split], all[split:]} {
		var cluster, local []Backend
		if useCluster {
			cluster = chooseCluster(family, here)
			port.Backends = append(port.Backends, cluster...)
		}
		if useLocal {
			local = chooseLocal(family)
			port.Local = append(port.Local, local...)
		}
		port.Open = append(port.Open, others(family, cluster, local)...)
		svc.LocalReady = max(svc.LocalReady, len(pickBackends(family, func(e *endpoint) bool { return e.ready && e.Local })))
	}
	usable := func(e endpoint) bool { return e.ready || e.serving }
	port.Any4, port.Any6 = slices.ContainsFunc(all[:split], usable), slices.ContainsFunc(all[split:], usable)
}

// mode is what traffic distribution comes to for a port on this node.
type mode int

const (
	everywhere mode = iota
	sameNode
	sameZone
)

// modeOf reads it from the hints of the ready endpoints. One without a hint, or none for this place, means that the
// hints are not about us (yet).
func modeOf(all []endpoint, here Place) mode {
	any, forNode, allNodes, forZone, allZones := false, false, true, false, true
	for i := range all {
		e := &all[i]
		if !e.ready {
			continue
		}
		any = true
		allNodes = allNodes && len(e.nodes) > 0
		allZones = allZones && len(e.zones) > 0
		forNode = forNode || slices.Contains(e.nodes, here.Node)
		forZone = forZone || slices.Contains(e.zones, here.Zone)
	}
	switch {
	case any && allNodes && forNode:
		return sameNode
	case any && allZones && forZone:
		return sameZone
	default:
		return everywhere
	}
}

// chooseCluster takes the ready endpoints that are meant for this place or, when none is ready anywhere, those that
// still serve while they terminate.
func chooseCluster(all []endpoint, here Place) []Backend {
	m := modeOf(all, here)
	chosen := pickBackends(all, func(e *endpoint) bool {
		switch {
		case !e.ready:
			return false
		case m == sameNode:
			return slices.Contains(e.nodes, here.Node)
		case m == sameZone:
			return slices.Contains(e.zones, here.Zone)
		default:
			return true
		}
	})
	if len(chosen) > 0 {
		return chosen
	}
	return pickBackends(all, func(e *endpoint) bool { return e.serving })
}

// chooseLocal takes this node's ready endpoints or, when there is none, its terminating ones that still serve.
func chooseLocal(all []endpoint) []Backend {
	if chosen := pickBackends(all, func(e *endpoint) bool { return e.Local && e.ready }); len(chosen) > 0 {
		return chosen
	}
	return pickBackends(all, func(e *endpoint) bool { return e.Local && e.serving })
}

func pickBackends(all []endpoint, take func(*endpoint) bool) []Backend {
	var out []Backend
	for i := range all {
		if take(&all[i]) {
			out = append(out, all[i].Backend)
		}
	}
	return out
}

// others are the endpoints that are in neither list. All three are sorted by address.
func others(all []endpoint, a, b []Backend) []Backend {
	skip := func(list []Backend, e *endpoint) ([]Backend, bool) {
		for len(list) > 0 && list[0].Addr.Compare(e.Addr) < 0 {
			list = list[1:]
		}
		return list, len(list) > 0 && list[0].Addr == e.Addr
	}
	return pickBackends(all, func(e *endpoint) bool {
		var inA, inB bool
		a, inA = skip(a, e)
		b, inB = skip(b, e)
		return !inA && !inB
	})
}
