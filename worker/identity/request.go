package identity

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
	"k8s.io/client-go/rest"
)

// What a node's certificates carry, by Kubernetes' conventions.
const (
	userPrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// want is a certificate that the node needs.
type want struct {
	name   string // of its file
	signer string
	usages []certificatesv1.KeyUsage
	dns    []string
}

func (i *Identity) clientWant() want {
	return want{name: "client", signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
		usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}}
}

// servingWant is known by the node's name and by no address: those change, and nobody could check them.
func (i *Identity) servingWant() want {
	return want{name: "serving", signer: certificatesv1.KubeletServingSignerName, dns: []string{i.cfg.NodeName},
		usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}}
}

func (w want) file() string    { return w.name + ".pem" }
func (w want) pending() string { return w.name + ".key" }

// obtain asks for a certificate over the transport and waits for it. A bearer token is sent where one is given.
func (i *Identity) obtain(ctx context.Context, w want, transport http.RoundTripper, token string) (*pair, error) {
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: i.cfg.Server, UserAgent: "petrel-worker", QPS: -1, Timeout: callTimeout},
		&http.Client{Transport: &bearing{transport, token}, Timeout: callTimeout})
	if err != nil {
		return nil, fmt.Errorf("make API client: %w", err)
	}
	requests := client.CertificatesV1().CertificateSigningRequests()
	key, encoded, err := pendingKey(i.file(w.pending()))
	if err != nil {
		return nil, err
	}
	csr, err := i.request(w, key)
	if err != nil {
		return nil, err
	}
	posted, err := requests.Create(ctx, csr, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		posted, err = requests.Get(ctx, csr.Name, metav1.GetOptions{}) // asked before, and then interrupted
	}
	if err != nil {
		return nil, i.refused(err)
	}
	cert, err := i.await(ctx, requests, posted)
	if err != nil {
		if errors.As(err, new(*deniedError)) {
			// The next attempt is another request: this one stays denied.
			err = errors.Join(err, os.Remove(i.file(w.pending())))
		}
		return nil, err
	}
	return keep(i.file(w.file()), i.file(w.pending()), cert, encoded)
}

// bearing shows a bearer token. Unlike client-go's it needs no configuration that prints.
type bearing struct {
	next  http.RoundTripper
	token string
}

// RoundTrip implements http.RoundTripper.
func (b *bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// request makes the object. Its name follows from the key, so that asking again finds the first.
func (i *Identity) request(w want, key crypto.Signer) (*certificatesv1.CertificateSigningRequest, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: userPrefix + i.cfg.NodeName, Organization: []string{nodesGroup}},
		DNSNames: w.dns,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	sum := sha256.Sum256(append(public, i.cfg.NodeName...))
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "node-" + w.name + "-" + hex.EncodeToString(sum[:10])},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: w.signer, Usages: w.usages,
		},
	}, nil
}

// deniedError is a verdict.
type deniedError struct{ message string }

func (d *deniedError) Error() string { return d.message }

// await polls until the request is decided over.
func (i *Identity) await(ctx context.Context, requests certificatesclient.CertificateSigningRequestInterface, csr *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	patience := time.NewTimer(decidePatience)
	defer patience.Stop()
	for pause := pollFirst; ; pause = min(2*pause, pollLast) {
		for _, c := range csr.Status.Conditions {
			if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
				return nil, fatal{&deniedError{fmt.Sprintf("the cluster gives this machine no certificate (%s, request %s): %s", c.Reason, csr.Name, c.Message)}}
			}
		}
		if len(csr.Status.Certificate) > 0 {
			return csr.Status.Certificate, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.C:
			return nil, fatal{fmt.Errorf("nobody has decided over the request %[1]s within %[2]s: look at it with `kubectl get csr`, and approve it with `kubectl certificate approve %[1]s`, then start again", csr.Name, decidePatience)}
		case <-time.After(pause):
		}
		next, err := requests.Get(ctx, csr.Name, metav1.GetOptions{})
		switch {
		case err == nil:
			csr = next
		case apierrors.IsNotFound(err) || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err):
			return nil, i.refused(err)
		}
	}
}

// refused says why an API answer ends the attempt; what is not the API's answer may mend itself.
func (i *Identity) refused(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && status.Status().Code != http.StatusTooManyRequests {
		return fatal{fmt.Errorf("the server at %s refuses: %s", i.cfg.Server, status.Status().Message)}
	}
	return i.explain(err)
}
