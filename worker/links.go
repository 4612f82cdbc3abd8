package worker

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/service"
)

// base are the variables that the container has whatever its spec says: where the API is and, in containers of
// processes, where the Services of its namespace are. Wasm modules use names: variables would cost each of thousands.
func (a *actor) base(c *corev1.Container) []env.Var {
	all := a.m.baseEnv()
	if links := a.view.Pod.Spec.EnableServiceLinks; a.wasm(c.Name) || links != nil && !*links {
		return all
	}
	return append(all, env.Links(linked(a.m.services(a.view.Pod.Namespace)))...)
}

func linked(services []service.Service) []env.Service {
	out := make([]env.Service, 0, len(services))
	for i := range services {
		svc := &services[i]
		if len(svc.ClusterIPs) == 0 {
			continue
		}
		one := env.Service{Name: svc.Name, Host: svc.ClusterIPs[0].String()}
		for j := range svc.Ports {
			p := &svc.Ports[j]
			one.Ports = append(one.Ports, env.Port{Name: p.Name, Protocol: p.Protocol, Number: int(p.Port)})
		}
		out = append(out, one)
	}
	return out
}
