package kernel

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

// Reasons of events that tell what is not served because another has it.
const (
	reasonAddress  = "AddressNotServed"
	reasonHostPort = "HostPortNotServed"
)

// tellTaken says that an address of a Service, or a host port of a pod, is another's: to the log, and to whom it concerns.
func (p *Path) tellTaken(svc *service.Service, at ebpfproxy.Frontend, owner types.NamespacedName) {
	p.mu.Lock()
	has, known := p.services[owner]
	p.mu.Unlock()
	of := owner.String()
	if known {
		of = title(&has)
	}
	what := fmt.Sprintf("address %s port %d/%s", at.Addr, at.Port, at.Protocol)
	if at.Addr.IsUnspecified() {
		what = fmt.Sprintf("port %d/%s of the node", at.Port, at.Protocol)
	}
	p.cfg.Logger.Warn("service address is another's", "of", title(svc), "address", at.Addr.String(), "port", at.Port, "has", of)
	if p.cfg.Recorder == nil {
		return
	}
	about, reason := svc.Reference(), reasonAddress
	if about.Kind == "Pod" {
		reason = reasonHostPort
	}
	p.cfg.Recorder.Eventf(about, corev1.EventTypeWarning, reason, "%s is not served for it: %s has it", what, of)
}

// title names an entry of the table for people.
func title(svc *service.Service) string {
	about := svc.Reference()
	return about.Kind + " " + about.Namespace + "/" + about.Name
}
