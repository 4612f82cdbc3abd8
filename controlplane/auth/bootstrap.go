package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
)

// BootstrapToken is a bootstrap token as it is stored.
type BootstrapToken struct {
	jointoken.Bootstrap
	// Expires is when it ends; the zero time: never.
	Expires time.Time
	// Authenticates tells that the token may be shown as a bearer token.
	Authenticates bool
	// Groups are those that its user is in beside GroupBootstrappers. Each is below it.
	Groups []string
}

// BootstrapTokens knows the bootstrap tokens: machines that are to join show them.
type BootstrapTokens struct {
	// Lookup finds a token by its id.
	Lookup func(ctx context.Context, id string) (BootstrapToken, bool, error)
	// Now tells the time; nil: time.Now.
	Now func() time.Time
}

// User implements Tokens.
func (b *BootstrapTokens) User(ctx context.Context, token string) (*User, error) {
	shown, err := jointoken.ParseBootstrap(token)
	if err != nil {
		return nil, nil // a token of another kind
	}
	known, ok, err := b.Lookup(ctx, shown.ID)
	if err != nil {
		return nil, fmt.Errorf("look up bootstrap token: %w", err)
	}
	// The comparison takes as long for a token that is not there.
	same := equal(known.Secret, shown.Secret)
	if !ok || !same || known.ID != shown.ID || !known.Authenticates {
		return nil, unauthorized(fmt.Sprintf("the bootstrap token %s is not known: it is mistyped, was deleted, or has expired and is gone; `petrel token create` makes another", shown.ID))
	}
	now := time.Now()
	if b.Now != nil {
		now = b.Now()
	}
	if !known.Expires.IsZero() && !now.Before(known.Expires) {
		return nil, unauthorized(fmt.Sprintf("the bootstrap token %s expired at %s; `petrel token create` makes another", shown.ID, known.Expires.UTC().Format(time.RFC3339)))
	}
	groups := []string{GroupBootstrappers}
	for _, g := range known.Groups {
		if strings.HasPrefix(g, GroupBootstrappers+":") {
			groups = append(groups, g)
		}
	}
	return authenticated(bootstrapPrefix+shown.ID, "", groups), nil
}

// equal compares secrets in a time that tells nothing of them, not even their length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
