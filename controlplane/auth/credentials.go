package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"time"
)

// maxBearer bounds a bearer token.
const maxBearer = 4 << 10

// Credentials is the Authenticator of an API that speaks TLS: client certificates, then bearer tokens; without either
// only whether the API lives may be asked.
type Credentials struct {
	// Clients are the authorities whose client certificates are believed.
	Clients *x509.CertPool
	// Tokens are asked one after the other.
	Tokens []Tokens
	// Now tells the time; nil: time.Now.
	Now func() time.Time
}

// Tokens knows bearer tokens.
type Tokens interface {
	// User answers nil for a token that it does not know, and a *Refusal for one that it knows and does not take.
	User(ctx context.Context, token string) (*User, error)
}

// Authenticate finds out who sent the request.
func (c *Credentials) Authenticate(r *http.Request) (*User, error) {
	if r.TLS == nil {
		return nil, unauthorized("this API speaks TLS only")
	}
	// A browser shows an imported client certificate for whatever page asks.
	if err := checkOrigin(r); err != nil {
		return nil, err
	}
	token, hasToken, err := bearer(r)
	if err != nil {
		return nil, err
	}
	if len(r.TLS.PeerCertificates) > 0 {
		user, err := c.certificate(r)
		if err == nil || !hasToken {
			return user, err
		}
	}
	if hasToken {
		return c.token(r.Context(), token)
	}
	if isBelow(r.URL.Path, openPaths) && reads(strings.ToLower(r.Method)) {
		return anonymous, nil
	}
	return nil, unauthorized("the request shows no credential: show a client certificate or a bearer token; `petrel kubeconfig`, on the control plane's machine, writes a kubeconfig that has one")
}

// bearer reads the Authorization header. A header of another kind is refused rather than overlooked.
func bearer(r *http.Request) (token string, ok bool, err error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", false, nil
	}
	kind, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(kind, "Bearer") || token == "" {
		return "", false, unauthorized("the Authorization header is not of the form \"Bearer TOKEN\"")
	}
	if len(token) > maxBearer {
		return "", false, unauthorized("the bearer token is longer than any that is known")
	}
	return token, true, nil
}

func (c *Credentials) token(ctx context.Context, token string) (*User, error) {
	for _, known := range c.Tokens {
		user, err := known.User(ctx, token)
		if user != nil || err != nil {
			return user, err
		}
	}
	return nil, unauthorized("the bearer token is not known: it is mistyped, has been deleted or has expired")
}

func (c *Credentials) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func unauthorized(message string) error {
	return &Refusal{Status: http.StatusUnauthorized, Message: "Unauthorized: " + message}
}

// IsUnauthorized tells whether an error is a refusal over credentials.
func IsUnauthorized(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Status == http.StatusUnauthorized
}
