package credentials

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// maxEntries bounds the entries of one secret; the API bounds its bytes.
	maxEntries = 1000
	// maxShown bounds how many entries are tried for one image.
	maxShown = 8
)

// Keyring is the entries of a pod's pull secrets.
type Keyring struct{ entries []entry }

// entry is one address with what is shown to it.
type entry struct {
	host string // may have * and ? in its labels
	port string
	path string // of repositories; empty: all
	auth *runtimev1.AuthConfig
}

// login is an entry of Docker's configuration.
type login struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Add takes in a secret of one of the two types that hold logins.
func (k *Keyring) Add(secret *corev1.Secret) error {
	var logins map[string]login
	var err error
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]login `json:"auths"`
		}
		err = json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file)
		logins = file.Auths
	case corev1.SecretTypeDockercfg:
		err = json.Unmarshal(secret.Data[corev1.DockerConfigKey], &logins)
	default:
		return fmt.Errorf("secret %s is of type %s: a pull secret is of type %s or %s", secret.Name, secret.Type, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
	}
	if err != nil { // the cause may quote the secret
		return fmt.Errorf("secret %s: its configuration is not the JSON of Docker's", secret.Name)
	}
	if len(logins) > maxEntries {
		return fmt.Errorf("secret %s: more than %d registries", secret.Name, maxEntries)
	}
	var added []entry
	for address, l := range logins {
		e, err := newEntry(address, l)
		if err != nil {
			return fmt.Errorf("secret %s: registry %q: %w", secret.Name, address, err)
		}
		added = append(added, e)
	}
	k.entries = append(k.entries, added...)
	slices.SortStableFunc(k.entries, func(a, b entry) int { // the most specific first, and always in one order
		return cmp.Or(len(b.path)-len(a.path), strings.Count(a.host, "*")-strings.Count(b.host, "*"), strings.Compare(a.host, b.host), strings.Compare(b.port, a.port))
	})
	return nil
}

func newEntry(address string, l login) (entry, error) {
	host, port, repo := split(address)
	if host == "" {
		return entry{}, fmt.Errorf("it has no host")
	}
	if _, err := path.Match(host, ""); err != nil {
		return entry{}, fmt.Errorf("its pattern: %w", err)
	}
	auth := &runtimev1.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken}
	if l.Auth != "" {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimRight(l.Auth, "\x00\n "))
		name, password, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok {
			return entry{}, fmt.Errorf("auth is not the base64 of name:password")
		}
		auth.Username, auth.Password = name, strings.TrimRight(password, "\x00")
	}
	return entry{host: host, port: port, path: repo, auth: auth}, nil
}

// split takes an address of a configuration apart. Docker writes some with a scheme and the path of the API.
func split(address string) (host, port, repo string) {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	host, repo, _ = strings.Cut(address, "/")
	for _, api := range []string{"v1", "v2"} {
		if repo == api {
			repo = ""
		}
		repo = strings.TrimPrefix(repo, api+"/")
	}
	if bare, p, err := net.SplitHostPort(host); err == nil {
		host, port = bare, p
	}
	return hubName(host), port, strings.Trim(repo, "/")
}

// hubName gives Docker Hub, which has several names, one.
func hubName(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}

// For answers what may be shown for an image, the likeliest first; none: it is asked for as nobody.
func (k *Keyring) For(image string) []*runtimev1.AuthConfig {
	host, port, repo := target(image)
	var out []*runtimev1.AuthConfig
	for _, e := range k.entries {
		if len(out) == maxShown {
			break
		}
		if e.matches(host, port, repo) && !slices.ContainsFunc(out, func(a *runtimev1.AuthConfig) bool { return same(a, e.auth) }) {
			out = append(out, e.auth)
		}
	}
	return out
}

func same(a, b *runtimev1.AuthConfig) bool {
	return a.Username == b.Username && a.Password == b.Password && a.IdentityToken == b.IdentityToken && a.RegistryToken == b.RegistryToken
}

// target is the registry and the repository of an image's name.
func target(image string) (host, port, repo string) {
	image, _, _ = strings.Cut(image, "@")
	first, rest, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		first, rest = "docker.io", image
		if !ok {
			rest = "library/" + image
		}
	}
	if at := strings.LastIndexByte(rest, ':'); at > strings.LastIndexByte(rest, '/') {
		rest = rest[:at] // the tag
	}
	host = first
	if bare, p, err := net.SplitHostPort(first); err == nil {
		host, port = bare, p
	}
	return hubName(host), port, rest
}

func (e *entry) matches(host, port, repo string) bool {
	if e.port != port || e.path != "" && repo != e.path && !strings.HasPrefix(repo, e.path+"/") {
		return false
	}
	pattern, labels := strings.Split(e.host, "."), strings.Split(host, ".")
	if len(pattern) != len(labels) {
		return false
	}
	for i := range pattern {
		if ok, err := path.Match(pattern[i], labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
