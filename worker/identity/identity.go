package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Identity is who the node is. It is safe for concurrent use once Open has returned.
type Identity struct {
	cfg       Config
	ca        *x509.Certificate
	client    *pair // Open's and then Run's
	serving   atomic.Pointer[pair]
	transport swapping
}

// New makes an identity; it does no I/O.
func New(cfg Config) (*Identity, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure node identity: %w", err)
	}
	return &Identity{cfg: cfg}, nil
}

// Open reads the certificates, or joins and gets them. A node that has joined needs neither the token nor the server.
func (i *Identity) Open(ctx context.Context) error {
	if err := os.MkdirAll(i.cfg.Dir, dirPerm); err != nil {
		return fmt.Errorf("make directory of certificates: %w", err)
	}
	joined, err := i.load()
	if err != nil {
		return err
	}
	if !joined {
		if err := i.patiently(ctx, i.join); err != nil {
			return fmt.Errorf("join %s: %w", i.cfg.Server, err)
		}
		i.cfg.Logger.Info("joined", "server", i.cfg.Server, "node", i.cfg.NodeName, "until", i.client.Leaf.NotAfter)
	}
	i.transport.swap(newTransport(i.ca, &i.client.Certificate))
	if i.serving.Load() == nil {
		if err := i.patiently(ctx, i.getServing); err != nil {
			return fmt.Errorf("get certificate of node server: %w", err)
		}
	}
	return nil
}

// Close ends idle connections.
func (i *Identity) Close() { i.transport.CloseIdleConnections() }

// load reads what earlier runs have left; joined tells whether that is all a node needs to ask.
func (i *Identity) load() (joined bool, err error) {
	if i.ca, err = readAuthority(i.file(caFile)); err != nil {
		return false, i.mayJoin(err)
	}
	if i.client, err = readPair(i.file(i.clientWant().file())); err != nil {
		return false, i.mayJoin(err)
	}
	if have := hashOf(i.ca); i.cfg.CAHash != "" && have != i.cfg.CAHash {
		return false, fmt.Errorf("%s is of a node of another cluster (authority %s) than the token (%s): remove the directory to join the token's, or name another with --data-dir", i.cfg.Dir, have, i.cfg.CAHash)
	}
	if name := i.client.Leaf.Subject.CommonName; name != userPrefix+i.cfg.NodeName {
		return false, fmt.Errorf("%s holds the certificate of %q, and this node is to be %q: start it with its old --node-name, or remove the directory to join anew", i.cfg.Dir, name, i.cfg.NodeName)
	}
	if end := i.client.Leaf.NotAfter; !i.cfg.Now().Before(end) {
		return false, i.mayJoin(fmt.Errorf("the node's certificate ended at %s", end.UTC().Format(time.RFC3339)))
	}
	serving, err := readPair(i.file(i.servingWant().file()))
	if err == nil && i.cfg.Now().Before(serving.Leaf.NotAfter) {
		i.serving.Store(serving)
	}
	return true, nil
}

// mayJoin lets what is missing be got with the token, or says that it takes one.
func (i *Identity) mayJoin(why error) error {
	if i.cfg.Token != "" {
		return nil
	}
	if errors.Is(why, fs.ErrNotExist) {
		why = fmt.Errorf("this machine has not joined a cluster (%s holds no certificate)", i.cfg.Dir)
	}
	return fmt.Errorf("%w: give a token with --token; `petrel token create` makes one", why)
}

// join learns the authority and gets the client certificate.
func (i *Identity) join(ctx context.Context) error {
	ca, err := i.fetchAuthority(ctx)
	if err != nil {
		return err
	}
	plain := newTransport(ca, nil)
	defer plain.CloseIdleConnections()
	if err := i.checkClock(ctx, plain); err != nil {
		return err
	}
	if err := write(i.file(caFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), certPerm); err != nil {
		return fatal{err}
	}
	i.ca = ca
	i.client, err = i.obtain(ctx, i.clientWant(), plain, i.cfg.Token)
	return err
}

// checkClock compares clocks before there are certificates whose times are wrong here.
func (i *Identity) checkClock(ctx context.Context, transport http.RoundTripper) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.cfg.Server+"/livez", nil)
	if err != nil {
		return fatal{err}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return i.explain(err)
	}
	defer resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return nil // a server that does not tell the time is judged by its certificate alone
	}
	ours := i.cfg.Now()
	if skew := ours.Sub(theirs); skew.Abs() > maxSkew {
		return fatal{fmt.Errorf("this machine's clock says %s and the server's %s: they differ by %s, more than certificates bear; set the clock that is wrong (with NTP) and start again",
			ours.UTC().Format(time.RFC3339), theirs.UTC().Format(time.RFC3339), skew.Abs().Round(time.Second))}
	}
	return nil
}

func (i *Identity) getServing(ctx context.Context) error {
	serving, err := i.obtain(ctx, i.servingWant(), &i.transport, "")
	if err == nil {
		i.serving.Store(serving)
	}
	return err
}

// patiently tries until it works, the reason is one that does not mend itself, or patience ends.
func (i *Identity) patiently(ctx context.Context, step func(context.Context) error) error {
	deadline := time.Now().Add(reachPatience)
	for pause := pollFirst; ; pause = min(2*pause, pollLast) {
		err := step(ctx)
		if err == nil || errors.As(err, new(fatal)) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		i.cfg.Logger.Warn("the server does not answer yet", "server", i.cfg.Server, "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Transport carries requests to the API, always with the newest certificate.
func (i *Identity) Transport() http.RoundTripper { return &i.transport }

// ServerTLS is for the node's server: its certificate, and client certificates of the cluster asked for and checked.
func (i *Identity) ServerTLS() *tls.Config {
	clients := x509.NewCertPool()
	clients.AddCert(i.ca)
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &i.serving.Load().Certificate, nil },
	}
}

// CAName and ClientName are the files of the authority and of the client certificate in Config.Dir. A machine that has
// the latter has joined.
const (
	CAName     = caFile
	ClientName = "client.pem"
)

// CAFile and ClientFile are where programs beside the worker find the authority, and the client certificate with its
// key. The latter is replaced when it is renewed.
func (i *Identity) CAFile() string     { return i.file(caFile) }
func (i *Identity) ClientFile() string { return i.file(i.clientWant().file()) }
