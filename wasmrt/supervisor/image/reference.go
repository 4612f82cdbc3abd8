package image

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Docker Hub's registry has a name for people and one for machines.
const (
	hubShown = "docker.io/"
	hubAsked = "index.docker.io/"
)

// parse reads an image's name as the CRI's clients write it. A missing registry means Docker Hub, a missing tag latest.
func parse(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrReference, ref, err)
	}
	return r, nil
}

// canonical is the one way a reference is written in records and answers.
func canonical(r name.Reference) string { return shown(r.Name()) }

func shown(s string) string {
	if rest, ok := strings.CutPrefix(s, hubAsked); ok {
		return hubShown + rest
	}
	return s
}

// Mirrors maps a registry's host to the base URL that is asked instead.
type Mirrors map[string]*url.URL

// Add reads a mirror of the form host=http://address.
func (m Mirrors) Add(spec string) error {
	host, base, ok := strings.Cut(spec, "=")
	if !ok || host == "" {
		return fmt.Errorf("read mirror %q: want host=http://address", spec)
	}
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("read mirror %q: %w", spec, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("read mirror %q: the address is a scheme, http or https, and a host, nothing more", spec)
	}
	m[host] = u
	return nil
}

// resolve answers the reference to ask for r: at its mirror, when it has one.
func (m Mirrors) resolve(r name.Reference) (name.Reference, error) {
	base := m[r.Context().RegistryStr()]
	if base == nil {
		return r, nil
	}
	var opts []name.Option
	if base.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	registry, err := name.NewRegistry(base.Host, opts...)
	if err != nil {
		return nil, fmt.Errorf("name mirror %s: %w", base.Host, err)
	}
	repo := registry.Repo(r.Context().RepositoryStr())
	switch r := r.(type) {
	case name.Digest:
		return repo.Digest(r.DigestStr()), nil
	case name.Tag:
		return repo.Tag(r.TagStr()), nil
	}
	return nil, fmt.Errorf("%w %q: neither tag nor digest", ErrReference, r)
}

// shortID answers the hex digits when ref can be an image's id or the begin of one, as crictl users type it.
func shortID(ref string) (string, bool) {
	digits, prefixed := strings.CutPrefix(ref, "sha256:")
	const shortest = 6 // below it a repository's name is the likelier meaning
	if len(digits) > 64 || (!prefixed && len(digits) < shortest) || digits == "" {
		return "", false
	}
	padded := digits
	if len(padded)%2 == 1 {
		padded += "0"
	}
	if _, err := hex.DecodeString(padded); err != nil || strings.ToLower(digits) != digits {
		return "", false
	}
	return digits, true
}
