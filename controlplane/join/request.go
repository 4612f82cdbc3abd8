package join

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
)

// maxCommonName is what RFC 5280 gives a common name; other TLS libraries refuse longer ones.
const maxCommonName = 64

// served are the signers that are ours.
var served = []string{
	certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName,
}

// usages are what each kind of certificate may be asked for.
var (
	clientUsages  = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth}
	servingUsages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageServerAuth}
)

// parsed is a request that its signer would sign: what is to be issued, and for whom.
type parsed struct {
	pki.Request
	node      string // empty for clients that are no nodes
	publicKey any
}

// parse reads a request and holds it to the rules of its signer, which bind whoever approves.
func parse(csr *certificatesv1.CertificateSigningRequest, longest time.Duration) (*parsed, error) {
	block, rest := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("spec.request is not one PEM block of type CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read spec.request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check spec.request: %w", err)
	}
	p := &parsed{publicKey: request.PublicKey}
	p.CommonName, p.Organization, p.Usage = request.Subject.CommonName, slices.Sorted(slices.Values(request.Subject.Organization)), pki.Client
	p.Life = longest
	if s := csr.Spec.ExpirationSeconds; s != nil {
		p.Life = min(longest, time.Duration(*s)*time.Second)
	}
	others := len(request.EmailAddresses)+len(request.URIs) > 0
	names := others || len(request.DNSNames)+len(request.IPAddresses) > 0
	switch csr.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientSignerName:
		err = p.plainClient(csr, names)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		err = p.nodeClient(csr, names)
	case certificatesv1.KubeletServingSignerName:
		err = p.nodeServing(csr, request, others)
	default:
		err = fmt.Errorf("signer %s is not one of %s", csr.Spec.SignerName, strings.Join(served, ", "))
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// plainClient is a person or a program. The groups and names of the system are not given to whoever asks for them.
func (p *parsed) plainClient(csr *certificatesv1.CertificateSigningRequest, names bool) error {
	switch reserved := func(s string) bool { return strings.HasPrefix(s, "system:") || strings.HasPrefix(s, "petrel:") }; {
	case p.CommonName == "" || len(p.CommonName) > maxCommonName:
		return fmt.Errorf("the common name must have 1 to %d characters", maxCommonName)
	case names:
		return errors.New("a client's certificate has no alternative names")
	case reserved(p.CommonName) || slices.ContainsFunc(p.Organization, reserved):
		return errors.New("names and groups that begin with system: or petrel: are not given by request; `petrel kubeconfig` makes an administrator's certificate on the control plane's machine")
	}
	return checkUsages(csr.Spec.Usages, clientUsages)
}

func (p *parsed) nodeClient(csr *certificatesv1.CertificateSigningRequest, names bool) error {
	if err := p.findNode(); err != nil {
		return err
	}
	if names {
		return errors.New("a node's client certificate has no alternative names")
	}
	return checkUsages(csr.Spec.Usages, clientUsages)
}

func (p *parsed) nodeServing(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest, others bool) error {
	if err := p.findNode(); err != nil {
		return err
	}
	switch {
	case csr.Spec.Username != p.CommonName:
		return fmt.Errorf("only the node itself may ask for its server's certificate, and %q asked", csr.Spec.Username)
	case others:
		return errors.New("a node's server is known by DNS names and IP addresses only")
	case len(request.DNSNames)+len(request.IPAddresses) == 0:
		return errors.New("a server's certificate needs the names or addresses that it is to be known by")
	}
	p.Usage, p.DNSNames = pki.Serving, request.DNSNames
	for _, ip := range request.IPAddresses {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return errors.New("an IP address in the request is none")
		}
		p.Addresses = append(p.Addresses, addr.Unmap())
	}
	return checkUsages(csr.Spec.Usages, servingUsages)
}

// findNode reads the node's name from the subject, which must be a node's and nothing more.
func (p *parsed) findNode() error {
	u := auth.User{Name: p.CommonName, Groups: p.Organization}
	name, ok := u.Node()
	if !ok || len(p.Organization) != 1 {
		return fmt.Errorf("the subject must be O=%s, CN=%s", auth.GroupNodes, auth.NodeUser("NAME"))
	}
	if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
		return fmt.Errorf("the node's name %q cannot be one: %s", name, strings.Join(wrong, "; "))
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("the node's name %q is an address: choose a name", name)
	}
	if len(p.CommonName) > maxCommonName {
		return fmt.Errorf("the node's name %q is too long: at most %d characters fit into a certificate", name, maxCommonName-len(auth.NodeUser("")))
	}
	p.node = name
	return nil
}

// checkUsages wants the last of the known usages and none that is not known.
func checkUsages(asked, known []certificatesv1.KeyUsage) error {
	for _, u := range asked {
		if !slices.Contains(known, u) {
			return fmt.Errorf("usage %q is not one of %v", u, known)
		}
	}
	if needed := known[len(known)-1]; !slices.Contains(asked, needed) {
		return fmt.Errorf("usage %q is missing", needed)
	}
	return nil
}
