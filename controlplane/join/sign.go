package join

import (
	"context"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/controlplane/pki"
)

// request takes a request one step on: decided over, signed, or cleared away.
func (c *Controller) request(ctx context.Context, name string) (time.Duration, error) {
	found, ok, err := c.requests.GetIndexer().GetByKey(name)
	if err != nil || !ok {
		return 0, err
	}
	csr, ok := found.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return 0, fmt.Errorf("read request: got a %T", found)
	}
	csr = csr.DeepCopy()
	if again, done, err := c.expire(ctx, csr); done || err != nil {
		return again, err
	}
	if !slices.Contains(served, csr.Spec.SignerName) || len(csr.Status.Certificate) > 0 ||
		has(csr, certificatesv1.CertificateDenied) || has(csr, certificatesv1.CertificateFailed) {
		return c.lifetime(csr), nil
	}
	p, err := parse(csr, c.cfg.Life)
	if err != nil {
		return c.lifetime(csr), c.reject(ctx, csr, err)
	}
	if !has(csr, certificatesv1.CertificateApproved) {
		if csr, err = c.decide(ctx, csr, p); err != nil {
			return 0, err
		}
	}
	if has(csr, certificatesv1.CertificateApproved) {
		return c.lifetime(csr), c.sign(ctx, csr, p)
	}
	return c.lifetime(csr), nil
}

// decide writes the verdict down and answers the request as it stands then.
func (c *Controller) decide(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, p *parsed) (*certificatesv1.CertificateSigningRequest, error) {
	v := decide(csr, p, known{node: c.hasNode, others: c.joining()})
	if v.condition == "" {
		return csr, nil
	}
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: v.condition, Status: corev1.ConditionTrue, Reason: v.reason, Message: v.message,
	})
	out, err := c.cfg.Client.UpdateApproval(ctx, csr)
	if err != nil {
		return nil, fmt.Errorf("write verdict: %w", err)
	}
	c.cfg.Logger.Info("request for a certificate", "request", csr.Name, "subject", p.CommonName, "signer", csr.Spec.SignerName,
		"by", csr.Spec.Username, "verdict", v.condition, "message", v.message)
	decided, ok := out.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil, fmt.Errorf("write verdict: got a %T", out)
	}
	return decided, nil
}

// reject denies a request that nobody could sign, or fails it where a person has approved it.
func (c *Controller) reject(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, why error) error {
	condition := certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue, Reason: reasonInvalid, Message: why.Error(),
	}
	write := c.cfg.Client.UpdateApproval
	if has(csr, certificatesv1.CertificateApproved) {
		condition.Type, write = certificatesv1.CertificateFailed, c.cfg.Client.UpdateStatus
	}
	csr.Status.Conditions = append(csr.Status.Conditions, condition)
	if _, err := write(ctx, csr); err != nil {
		return fmt.Errorf("reject request: %w", err)
	}
	return nil
}

func (c *Controller) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, p *parsed) error {
	authority := c.cfg.Cluster
	if p.Usage == pki.Serving {
		authority = c.cfg.Nodes
	}
	cert, err := authority.Sign(p.Request, p.publicKey, c.cfg.Now())
	if err != nil {
		return fmt.Errorf("sign %s: %w", csr.Name, err)
	}
	csr.Status.Certificate = cert
	if _, err := c.cfg.Client.UpdateStatus(ctx, csr); err != nil {
		return fmt.Errorf("hand out certificate: %w", err)
	}
	return nil
}

// hasNode tells whether there is a Node of the name.
func (c *Controller) hasNode(name string) bool {
	_, ok, err := c.nodes.GetIndexer().GetByKey(name)
	return ok || err != nil // an error of the cache gives no name away
}

// joining are the requests that were approved for machines which showed a bootstrap token.
func (c *Controller) joining() []*certificatesv1.CertificateSigningRequest {
	var out []*certificatesv1.CertificateSigningRequest
	for _, obj := range c.requests.GetIndexer().List() {
		if csr, ok := obj.(*certificatesv1.CertificateSigningRequest); ok && has(csr, certificatesv1.CertificateApproved) {
			out = append(out, csr)
		}
	}
	return out
}

// goneNode frees the name of a node that was deleted.
func (c *Controller) goneNode(ctx context.Context, name string) error {
	if c.hasNode(name) {
		return nil // it is back
	}
	for _, csr := range c.joining() {
		if nodeOf(csr) == name {
			if err := c.remove(ctx, csr); err != nil {
				return fmt.Errorf("free node name: %w", err)
			}
		}
	}
	return nil
}

// expire removes a request whose time is over.
func (c *Controller) expire(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) (again time.Duration, done bool, err error) {
	if left := c.lifetime(csr); left > time.Millisecond {
		return left, false, nil
	}
	return 0, true, c.remove(ctx, csr)
}

// lifetime is how long a request still stays; it is positive, so that it comes again.
func (c *Controller) lifetime(csr *certificatesv1.CertificateSigningRequest) time.Duration {
	kept := pendingKept
	if len(csr.Status.Certificate) > 0 || has(csr, certificatesv1.CertificateDenied) || has(csr, certificatesv1.CertificateFailed) {
		kept = decidedKept
	}
	return max(csr.CreationTimestamp.Add(kept).Sub(c.cfg.Now()), time.Millisecond)
}
