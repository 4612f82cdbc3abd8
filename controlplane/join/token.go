package join

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
)

// Bootstrap tokens are Secrets of Kubernetes' own form, so that its tools read and write them too.
const (
	// TokenType is the Secret's type.
	TokenType = corev1.SecretTypeBootstrapToken
	// TokenNamePrefix begins the Secret's name; the token's id follows.
	TokenNamePrefix = "bootstrap-token-"

	keyID             = "token-id"
	keySecret         = "token-secret"
	keyExpiration     = "expiration"
	keyDescription    = "description"
	keyAuthentication = "usage-bootstrap-authentication"
	keySigning        = "usage-bootstrap-signing"
	keyGroups         = "auth-extra-groups"
)

// TokenSecret is the Secret of a token; it never ends where expires is the zero time.
func TokenSecret(token jointoken.Bootstrap, expires time.Time, description string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: TokenNamePrefix + token.ID},
		Type:       TokenType,
		StringData: map[string]string{keyID: token.ID, keySecret: token.Secret, keyAuthentication: "true"},
	}
	if description != "" {
		s.StringData[keyDescription] = description
	}
	if !expires.IsZero() {
		s.StringData[keyExpiration] = expires.UTC().Format(time.RFC3339)
	}
	return s
}

// Token is a bootstrap token as it is shown to people, without its secret.
type Token struct {
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Expires     time.Time `json:"expires,omitzero"`
	Groups      []string  `json:"groups,omitempty"`
	Usages      []string  `json:"usages"`
}

// ReadToken reads a token's Secret for people.
func ReadToken(s *corev1.Secret) (Token, error) {
	known, err := tokenOf(s)
	if err != nil {
		return Token{}, err
	}
	t := Token{ID: known.ID, Description: string(s.Data[keyDescription]), Expires: known.Expires, Groups: known.Groups, Usages: []string{}}
	for _, usage := range []string{keyAuthentication, keySigning} {
		if string(s.Data[usage]) == "true" {
			t.Usages = append(t.Usages, strings.TrimPrefix(usage, "usage-bootstrap-"))
		}
	}
	return t, nil
}

func isToken(obj api.Object) bool {
	s, ok := obj.(*corev1.Secret)
	return ok && s.Type == TokenType && s.Namespace == metav1.NamespaceSystem
}

// tokenOf reads a token's Secret. Its errors name keys, never values.
func tokenOf(s *corev1.Secret) (auth.BootstrapToken, error) {
	var t auth.BootstrapToken
	t.ID, t.Secret = string(s.Data[keyID]), string(s.Data[keySecret])
	if _, err := jointoken.ParseBootstrap(t.Bootstrap.String()); err != nil || !isToken(s) || s.Name != TokenNamePrefix+t.ID {
		return auth.BootstrapToken{}, fmt.Errorf("secret %s is no bootstrap token: its name, type, %s and %s must fit together", s.Name, keyID, keySecret)
	}
	t.Authenticates = string(s.Data[keyAuthentication]) == "true"
	if text := string(s.Data[keyExpiration]); text != "" {
		expires, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return auth.BootstrapToken{}, fmt.Errorf("secret %s: %s is no time as in RFC 3339", s.Name, keyExpiration)
		}
		t.Expires = expires
	}
	for group := range strings.SplitSeq(string(s.Data[keyGroups]), ",") {
		if group = strings.TrimSpace(group); group != "" {
			t.Groups = append(t.Groups, group)
		}
	}
	return t, nil
}

// BootstrapToken finds a token by its id, for auth.BootstrapTokens. A Secret that cannot be read is no token.
func (c *Controller) BootstrapToken(ctx context.Context, id string) (auth.BootstrapToken, bool, error) {
	if !jointoken.ValidID(id) {
		return auth.BootstrapToken{}, false, nil
	}
	secret, err := c.secret(ctx, metav1.NamespaceSystem, TokenNamePrefix+id)
	if secret == nil || err != nil {
		return auth.BootstrapToken{}, false, err
	}
	token, err := tokenOf(secret)
	if err != nil || secret.DeletionTimestamp != nil {
		return auth.BootstrapToken{}, false, nil
	}
	return token, true, nil
}

// secret reads from the cache once that is filled.
func (c *Controller) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	if !c.secrets.HasSynced() {
		obj, err := c.cfg.Client.Get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return as[*corev1.Secret](obj), nil
	}
	found, ok, err := c.secrets.GetIndexer().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil, err
	}
	secret, _ := found.(*corev1.Secret)
	return secret, nil
}

// token clears a token away some time after its end.
func (c *Controller) token(ctx context.Context, namespace, name string) (time.Duration, error) {
	secret, err := c.secret(ctx, namespace, name)
	if secret == nil || err != nil {
		return 0, err
	}
	t, err := tokenOf(secret)
	if err != nil || t.Expires.IsZero() {
		return 0, nil // people mend it, or it never ends
	}
	if left := t.Expires.Add(expiredKept).Sub(c.cfg.Now()); left > 0 {
		return left, nil
	}
	return 0, c.remove(ctx, secret)
}
