package api

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Image is a parsed image reference: [host/]repository[:tag][@digest].
type Image struct {
	Host       string // empty where the reference names none
	Repository string
	Tag        string
	Digest     string
}

// The grammar of the OCI distribution specification, with a host in front as image references have it.
var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
	hostPattern       = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)
)

// ParseImage reads an image reference.
func ParseImage(s string) (Image, error) {
	var img Image
	if s == "" {
		return img, errors.New("is empty")
	}
	if len(s) > MaxImageLength {
		return img, fmt.Errorf("is longer than %d characters", MaxImageLength)
	}
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if !digestPattern.MatchString(digest) {
			return img, errors.New("has a digest that is not sha256: and 64 lower-case hexadecimal digits")
		}
		img.Digest = digest
	}
	// The first component is a host only when it looks like one; "default/hello" names a repository.
	if first, path, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		if !hostPattern.MatchString(first) {
			return img, fmt.Errorf("has %q where a host should be", first)
		}
		img.Host, rest = first, path
	}
	repository, tag, hasTag := strings.Cut(rest, ":")
	if hasTag {
		if !tagPattern.MatchString(tag) {
			return img, fmt.Errorf("has a malformed tag %q", tag)
		}
		img.Tag = tag
	}
	if !repositoryPattern.MatchString(repository) {
		return img, fmt.Errorf("has a malformed repository %q: lower-case letters, digits and single separators", repository)
	}
	img.Repository = repository
	return img, nil
}

// String is the reference in full.
func (i Image) String() string {
	s := i.Repository
	if i.Host != "" {
		s = i.Host + "/" + s
	}
	if i.Tag != "" {
		s += ":" + i.Tag
	}
	if i.Digest != "" {
		s += "@" + i.Digest
	}
	return s
}
