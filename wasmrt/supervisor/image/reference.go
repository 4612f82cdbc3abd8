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

// Serves says whether an address, as credentials name the server they are for, is that of an image's registry. It may
// have a scheme and a path, which Docker's configuration writes.
func Serves(address, ref string) bool {
	r, err := parse(ref)
	if err != nil {
		return false
	}
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	host, _, _ := strings.Cut(address, "/")
	at := strings.TrimSuffix(shown(r.Context().RegistryStr()+"/"), "/")
	return strings.TrimSuffix(shown(host+"/"), "/") == at || at+"/" == hubShown && host == hub
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
