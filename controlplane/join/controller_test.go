package join

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
)

func issued(t *testing.T, csr *certificatesv1.CertificateSigningRequest) *x509.Certificate {
	t.Helper()
	if len(csr.Status.Certificate) == 0 {
		t.Fatalf("no certificate: %+v", csr.Status)
	}
	cert, err := pki.ParseCertificate(csr.Status.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func refusal(t *testing.T, csr *certificatesv1.CertificateSigningRequest) string {
	t.Helper()
	if len(csr.Status.Certificate) > 0 {
		t.Fatal("a certificate was handed out")
	}
	last := csr.Status.Conditions[len(csr.Status.Conditions)-1]
	return string(last.Type) + " " + last.Reason + ": " + last.Message
}

func TestMachineJoins(t *testing.T) {
	t.Parallel()
	cert := issued(t, settled(t, post(t, machine, nodeWish("east-1")).Name))
	if cert.Subject.CommonName != "system:node:east-1" || !slices.Equal(cert.Subject.Organization, []string{auth.GroupNodes}) ||
		!slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(cert.DNSNames) > 0 {
		t.Fatalf("%+v", cert)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: controller.cfg.Cluster.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Fatal(err)
	}
	server := issued(t, settled(t, post(t, nodeUser("east-1"), servingWish("east-1")).Name))
	if _, err := server.Verify(x509.VerifyOptions{Roots: controller.cfg.Nodes.Pool(), DNSName: "east-1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Verify(x509.VerifyOptions{Roots: controller.cfg.Cluster.Pool()}); err == nil {
		t.Fatal("a node's server passes for the API")
	}
	short := nodeWish("east-1")
	short.seconds = 3600
	again := issued(t, settled(t, post(t, nodeUser("east-1"), short).Name))
	if left := time.Until(again.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Fatalf("asked for an hour, got %s", left)
	}
	if left := time.Until(cert.NotAfter); left > 30*24*time.Hour {
		t.Fatalf("lasts %s", left)
	}
}

func TestNamesAreGivenOnce(t *testing.T) {
	t.Parallel()
	first := settled(t, post(t, machine, nodeWish("west-1")).Name)
	issued(t, first)
	if got := refusal(t, settled(t, post(t, machine, nodeWish("west-1")).Name)); !strings.Contains(got, "kubectl delete csr "+first.Name) {
		t.Fatal(got)
	}
	client := registry.Client("test")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "west-1"}}
	if _, err := client.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	until(t, "the node is known", func() bool { return controller.hasNode("west-1") })
	if got := refusal(t, settled(t, post(t, machine, nodeWish("west-1")).Name)); !strings.HasPrefix(got, "Denied NodeNameTaken") || !strings.Contains(got, "kubectl delete node west-1") {
		t.Fatal(got)
	}
	if err := client.Delete(t.Context(), node, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the name is free", func() bool { return read(t, first.Name) == nil })
	issued(t, settled(t, post(t, machine, nodeWish("west-1")).Name))
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	with := func(w wish, change func(*wish)) wish { change(&w); return w }
	node := nodeWish("odd-1")
	for name, tt := range map[string]struct {
		wish wish
		says string
	}{
		"a group too many":         {with(node, func(w *wish) { w.org = append([]string{auth.GroupMasters}, w.org...) }), "O=system:nodes"},
		"masters alone":            {with(node, func(w *wish) { w.org = []string{auth.GroupMasters} }), "O=system:nodes"},
		"no node's name":           {with(node, func(w *wish) { w.cn = "admin" }), "CN=system:node:NAME"},
		"an empty name":            {with(node, func(w *wish) { w.cn = "system:node:" }), "CN=system:node:NAME"},
		"a name in capitals":       {with(node, func(w *wish) { w.cn = "system:node:Odd" }), "cannot be one"},
		"an address for name":      {with(node, func(w *wish) { w.cn = "system:node:10.0.0.1" }), "is an address"},
		"a long name":              {with(node, func(w *wish) { w.cn = "system:node:" + strings.Repeat("a", 60) }), "too long"},
		"names beside":             {with(node, func(w *wish) { w.dns = []string{"kubernetes"} }), "no alternative names"},
		"to serve":                 {with(node, func(w *wish) { w.usages = append(slices.Clone(clientUsages), certificatesv1.UsageServerAuth) }), "server auth"},
		"for nothing":              {with(node, func(w *wish) { w.usages = clientUsages[:1] }), `"client auth" is missing`},
		"a server's, by a machine": {servingWish("odd-1"), "only the node itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := refusal(t, settled(t, post(t, machine, tt.wish).Name)); !strings.HasPrefix(got, "Denied InvalidRequest") || !strings.Contains(got, tt.says) {
				t.Fatalf("%s, want %q", got, tt.says)
			}
		})
	}
	person := wish{signer: certificatesv1.KubeAPIServerClientSignerName, cn: "root", org: []string{auth.GroupMasters}, usages: clientUsages}
	if got := refusal(t, settled(t, post(t, nodeUser("n"), person).Name)); !strings.Contains(got, "not given by request") {
		t.Fatal(got)
	}
}

func TestRequestsThatWait(t *testing.T) {
	t.Parallel()
	elsewhere := servingWish("south-1")
	elsewhere.ips = []string{"10.1.2.3"}
	posted := []*certificatesv1.CertificateSigningRequest{
		post(t, nodeUser("south-1"), elsewhere),
		post(t, person, nodeWish("south-2")),
		post(t, nodeUser("south-3"), nodeWish("south-4")),
		post(t, person, wish{signer: certificatesv1.KubeAPIServerClientSignerName, cn: "jane", org: []string{"people"}, usages: clientUsages}),
		post(t, person, wish{signer: "example.com/other", cn: "x", usages: clientUsages}),
	}
	// The controller works on them in their order, so what comes later and is done shows that they wait.
	settled(t, post(t, machine, nodeWish("south-9")).Name)
	client := registry.Client("person")
	for _, csr := range posted {
		now := read(t, csr.Name)
		if len(now.Status.Conditions) > 0 {
			t.Fatalf("%s: %+v", csr.Spec.SignerName, now.Status)
		}
		now.Status.Conditions = append(now.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Person", Message: "looked at"})
		if _, err := client.UpdateApproval(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if cert := issued(t, settled(t, posted[0].Name)); cert.IPAddresses[0].String() != "10.1.2.3" {
		t.Fatal(cert.IPAddresses)
	}
	if cert := issued(t, settled(t, posted[3].Name)); cert.Subject.CommonName != "jane" || !slices.Equal(cert.Subject.Organization, []string{"people"}) {
		t.Fatal(cert.Subject)
	}
	if other := read(t, posted[4].Name); len(other.Status.Certificate) > 0 {
		t.Fatal("signed for another signer")
	}
	// What nobody may sign is not signed for a person either.
	bad := nodeWish("south-5")
	bad.org = append(bad.org, auth.GroupMasters)
	p := post(t, person, bad)
	if got := refusal(t, settled(t, p.Name)); !strings.HasPrefix(got, "Denied") {
		t.Fatal(got)
	}
}

// TestTimePasses runs alone: it sets the clock.
func TestTimePasses(t *testing.T) {
	done := post(t, machine, nodeWish("old-1"))
	settled(t, done.Name)
	waiting := post(t, person, nodeWish("old-2"))
	settled(t, post(t, machine, nodeWish("old-3")).Name)
	defer clock.set(0)
	step := func() {
		for _, name := range []string{done.Name, waiting.Name} {
			controller.queue.Add(key{kind: requestKey, name: name})
		}
	}
	clock.set(decidedKept + time.Minute)
	step()
	until(t, "the decided request is gone", func() bool { return read(t, done.Name) == nil })
	if read(t, waiting.Name) == nil {
		t.Fatal("the request that waits is gone too")
	}
	clock.set(pendingKept + time.Minute)
	step()
	until(t, "the waiting request is gone", func() bool { return read(t, waiting.Name) == nil })
}
