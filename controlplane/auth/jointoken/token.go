package jointoken

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

const (
	// Version begins every join token, so that another form can be told from this one.
	Version = "petrel1"

	separator = "::"
	hashSize  = 64
	idSize    = 6
	// secretSize characters of 36 are 82 bits.
	secretSize = 16

	alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	hexits   = "0123456789abcdef"
)

// Bootstrap is a bootstrap token of Kubernetes: what a node shows as its bearer token.
type Bootstrap struct{ ID, Secret string }

// Token is what a node needs to join.
type Token struct {
	// CAHash is the SHA-256 of the public key of the cluster's certificate authority, in hexadecimal.
	CAHash string
	Bootstrap
}

// String is the token with its secret.
func (b Bootstrap) String() string { return b.ID + "." + b.Secret }

// String is the token with its secret.
func (t Token) String() string {
	return Version + separator + t.CAHash + separator + t.Bootstrap.String()
}

// LogValue keeps the secret out of logs.
func (b Bootstrap) LogValue() slog.Value { return slog.StringValue(b.ID + ".***") }

// LogValue keeps the secret out of logs.
func (t Token) LogValue() slog.Value { return t.Bootstrap.LogValue() }

// New makes a bootstrap token.
func New() (Bootstrap, error) {
	id, err := random(idSize)
	if err != nil {
		return Bootstrap{}, err
	}
	secret, err := random(secretSize)
	return Bootstrap{ID: id, Secret: secret}, err
}

// random draws characters; bytes beyond the last whole multiple of the alphabet are drawn again, so that all are
// equally likely.
func random(size int) (string, error) {
	const fair = 256 - 256%len(alphabet)
	out := make([]byte, 0, size)
	buf := make([]byte, size)
	for len(out) < size {
		if _, err := rand.Read(buf); err != nil {
			return "", fmt.Errorf("make token: %w", err)
		}
		for _, b := range buf {
			if int(b) < fair && len(out) < size {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out), nil
}

// Parse reads a join token.
func Parse(s string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(s), separator)
	if parts[0] != Version || len(parts) != 3 {
		return Token{}, fmt.Errorf("a join token has the form %s::HASH::ID.SECRET; `petrel token create` prints one", Version)
	}
	if len(parts[1]) != hashSize || strings.Trim(parts[1], hexits) != "" {
		return Token{}, fmt.Errorf("the second part of a join token is the hash of the cluster's certificate authority: %d lower-case hexadecimal digits", hashSize)
	}
	b, err := ParseBootstrap(parts[2])
	if err != nil {
		return Token{}, err
	}
	return Token{CAHash: parts[1], Bootstrap: b}, nil
}

// ParseBootstrap reads a bootstrap token.
func ParseBootstrap(s string) (Bootstrap, error) {
	id, secret, ok := strings.Cut(s, ".")
	if !ok || !ValidID(id) || len(secret) != secretSize || strings.Trim(secret, alphabet) != "" {
		return Bootstrap{}, errors.New("a bootstrap token has the form ID.SECRET: 6 and 16 characters of a-z and 0-9")
	}
	return Bootstrap{ID: id, Secret: secret}, nil
}

// ValidID tells whether a token can have the id.
func ValidID(id string) bool { return len(id) == idSize && strings.Trim(id, alphabet) == "" }
