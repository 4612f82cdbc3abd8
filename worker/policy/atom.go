package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// atom is one thing that a rule says about the other side: some pods or a block of addresses, and where the rule has a
// port by name, what number those pods have under it. Equal atoms of different policies are one.
type atom struct {
	key    string
	serial uint64 // while the atom is in use, and never another's

	// Of pods: those of namespace, or of the namespaces that inNamespaces selects.
	namespace    string
	inNamespaces labels.Selector
	pods         labels.Selector

	// Of addresses.
	block  netip.Prefix
	except []netip.Prefix

	port namedPort // zero: none
}

type namedPort struct {
	name     string
	protocol ebpfproxy.Protocol
}

// everyPod is meant by a rule without peers that has a port by name: only pods have such ports.
func everyPod() *atom {
	return &atom{key: "every pod", inNamespaces: labels.Everything(), pods: labels.Everything()}
}

func peerAtom(peer networkingv1.NetworkPolicyPeer, namespace string) (*atom, error) {
	if peer.IPBlock != nil {
		return blockAtom(peer.IPBlock)
	}
	a := &atom{namespace: namespace, pods: labels.Everything()}
	where := "in " + namespace
	var err error
	if peer.NamespaceSelector != nil {
		if a.inNamespaces, err = metav1.LabelSelectorAsSelector(peer.NamespaceSelector); err != nil {
			return nil, fmt.Errorf("namespace selector: %w", err)
		}
		a.namespace = ""
		where = "where " + a.inNamespaces.String()
	}
	if peer.PodSelector != nil {
		if a.pods, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return nil, fmt.Errorf("pod selector: %w", err)
		}
	}
	if peer.NamespaceSelector == nil && peer.PodSelector == nil {
		return nil, fmt.Errorf("a peer selects nothing")
	}
	a.key = fmt.Sprintf("pods %q %q", where, a.pods.String())
	return a, nil
}

func blockAtom(b *networkingv1.IPBlock) (*atom, error) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	a := &atom{block: cidr.Masked()}
	for _, text := range b.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("block %s except: %w", cidr, err)
		}
		a.except = append(a.except, except.Masked())
	}
	slices.SortFunc(a.except, netip.Prefix.Compare)
	a.except = slices.Compact(a.except)
	a.key = fmt.Sprintf("block %s except %v", a.block, a.except)
	return a, nil
}

// withPort narrows the atom to pods that have a port by that name.
func (a *atom) withPort(p namedPort) *atom {
	narrowed := *a
	narrowed.port = p
	narrowed.key += fmt.Sprintf(" port %s/%d", p.name, p.protocol)
	return &narrowed
}

func (a *atom) isBlock() bool { return a.block.IsValid() }

// holds reports whether everything of the prefix is in the block.
func (a *atom) holds(p netip.Prefix) bool {
	return covers(a.block, p) && !slices.ContainsFunc(a.except, func(e netip.Prefix) bool { return covers(e, p) })
}

// member says that somebody is of an atom, and what number a named port has there.
type member struct {
	atom *atom
	port uint16
}

// memberOf tells whether the pod is of an atom of pods.
func (a *atom) memberOf(p *pod, namespace labels.Set) (member, bool) {
	if a.inNamespaces == nil && a.namespace != p.name.Namespace {
		return member{}, false
	}
	if a.inNamespaces != nil && !a.inNamespaces.Matches(namespace) || !a.pods.Matches(p.labels) {
		return member{}, false
	}
	return a.withNumber(p)
}

func (a *atom) withNumber(p *pod) (member, bool) {
	m := member{atom: a}
	if a.port != (namedPort{}) {
		if m.port = p.ports[a.port]; m.port == 0 {
			return member{}, false
		}
	}
	return m, true
}

// classKey names a set of members for good. It sorts them.
func classKey(members []member) string {
	slices.SortFunc(members, func(a, b member) int {
		switch {
		case a.atom.serial < b.atom.serial:
			return -1
		case a.atom.serial > b.atom.serial:
			return 1
		}
		return 0
	})
	var key strings.Builder
	for _, m := range members {
		fmt.Fprintf(&key, "%d:%d ", m.atom.serial, m.port)
	}
	return key.String()
}
