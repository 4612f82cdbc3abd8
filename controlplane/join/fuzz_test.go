package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
)

// FuzzParse holds whatever is accepted to what may be signed. The subject's parts are fuzzed, and signed here: random
// bytes would never have a good signature.
func FuzzParse(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("system:node:a", "system:nodes", "a", uint8(1), []byte(nil))
	f.Add("system:node:a", "system:masters", "", uint8(1), []byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Add("jane", "people", "", uint8(0), []byte("x"))
	f.Add("system:node:n", "system:nodes", "kubernetes", uint8(2), []byte{})
	f.Fuzz(func(t *testing.T, cn, org, dns string, signer uint8, raw []byte) {
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: []string{org}}}
		if dns != "" {
			template.DNSNames = []string{dns}
		}
		csr := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: served[int(signer)%len(served)], Username: cn, Groups: []string{org, auth.GroupBootstrappers},
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}, Request: raw,
		}}
		if csr.Spec.SignerName == certificatesv1.KubeletServingSignerName {
			csr.Spec.Usages = servingUsages
		}
		if _, err := parse(csr, time.Hour); err == nil {
			t.Fatal("bytes without a signature are taken")
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		if err != nil {
			return
		}
		csr.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		p, err := parse(csr, time.Hour)
		if err != nil {
			return
		}
		reserved := strings.HasPrefix(p.CommonName, "system:") || slices.ContainsFunc(p.Organization, func(o string) bool { return strings.HasPrefix(o, "system:") })
		if reserved && (p.CommonName != auth.NodeUser(p.node) || !slices.Equal(p.Organization, []string{auth.GroupNodes})) {
			t.Fatalf("%+v would be signed", p.Request)
		}
		if (p.Usage == pki.Serving) != (csr.Spec.SignerName == certificatesv1.KubeletServingSignerName) || p.Life > time.Hour {
			t.Fatalf("%+v", p.Request)
		}
		if v := decide(csr, p, known{node: func(string) bool { return true }}); v.condition == certificatesv1.CertificateApproved && !strings.HasPrefix(csr.Spec.Username, "system:node:") {
			t.Fatalf("a name that is taken is given: %+v", v)
		}
	})
}
