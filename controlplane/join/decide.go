package join

import (
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/petrelrun/petrel/controlplane/auth"
)

// verdict is what is to be done with a request.
type verdict struct {
	// condition is Approved or Denied; empty: a person has to decide.
	condition       certificatesv1.RequestConditionType
	reason, message string
}

// Reasons of the conditions.
const (
	reasonJoin      = "NodeJoin"
	reasonRotation  = "NodeRotation"
	reasonNameTaken = "NodeNameTaken"
	reasonInvalid   = "InvalidRequest"
)

func approve(reason, message string) verdict {
	return verdict{certificatesv1.CertificateApproved, reason, message}
}

func deny(reason, message string) verdict {
	return verdict{certificatesv1.CertificateDenied, reason, message}
}

// known is what a decision looks at beside the request.
type known struct {
	// node tells that a Node of the name exists.
	node func(name string) bool
	// others are the requests that were approved for a joining machine, of all names.
	others []*certificatesv1.CertificateSigningRequest
}

// decide says what is to be done with a request that parse has accepted.
func decide(csr *certificatesv1.CertificateSigningRequest, p *parsed, k known) verdict {
	asks := auth.User{Name: csr.Spec.Username, Groups: csr.Spec.Groups}
	self, isNode := asks.Node()
	switch {
	case p.node == "":
		return verdict{}
	case isNode && self == p.node && csr.Spec.SignerName == certificatesv1.KubeAPIServerClientKubeletSignerName:
		return approve(reasonRotation, "the node renews its own certificate")
	case isNode && self == p.node:
		// A name or address that is not the node's own cannot be checked here.
		if len(p.Addresses) == 0 && slices.Equal(p.DNSNames, []string{p.node}) {
			return approve(reasonRotation, "the node's server is known by the node's name")
		}
		return verdict{}
	case !asks.Is(auth.GroupBootstrappers):
		return verdict{}
	}
	if k.node(p.node) {
		return deny(reasonNameTaken, fmt.Sprintf("there is a node %[1]q already: choose another name with --node-name; or, should this machine take its place, run `kubectl delete node %[1]s` and join again", p.node))
	}
	for _, other := range k.others {
		if other.UID != csr.UID && nodeOf(other) == p.node {
			return deny(reasonNameTaken, fmt.Sprintf("another machine is joining as %q: choose another name with --node-name; or, should it not come any more, run `kubectl delete csr %s` and join again", p.node, other.Name))
		}
	}
	return approve(reasonJoin, "the machine shows a bootstrap token, and the name is free")
}

// nodeOf is the name that a request of a joining machine is for.
func nodeOf(csr *certificatesv1.CertificateSigningRequest) string {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || !slices.Contains(csr.Spec.Groups, auth.GroupBootstrappers) {
		return ""
	}
	p, err := parse(csr, DefaultLife)
	if err != nil {
		return ""
	}
	return p.node
}

func has(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == kind })
}
