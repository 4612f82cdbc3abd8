package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// remote is one repository at one host.
type remote struct {
	host   *host
	base   string // address of the repository
	query  string
	client *http.Client
	stall  time.Duration
	close  func()
}

// document is a manifest as it came, with its digest.
type document struct {
	raw       []byte
	digest    string
	mediaType types.MediaType
}

// manifestTypes are what is asked for.
var manifestTypes = []types.MediaType{types.OCIManifestSchema1, types.OCIImageIndex, types.DockerManifestSchema2, types.DockerManifestList}

// connect finds out how the host wants to be asked, and answers the repository there.
func (p *Puller) connect(ctx context.Context, h *host, r name.Reference, auth authn.AuthConfig) (*remote, error) {
	next, closing, err := p.transportTo(h)
	if err != nil {
		return nil, err
	}
	done := false
	defer func() {
		if !done {
			closing()
		}
	}()
	var opts []name.Option
	if h.base.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	registry, err := name.NewRegistry(h.base.Host, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: name host %s: %w", ErrConfig, h.base.Host, err)
	}
	repo := strings.TrimPrefix(strings.TrimPrefix(h.base.Path, apiPath)+"/"+r.Context().RepositoryStr(), "/")
	re := &remote{host: h, base: h.String() + h.base.Path + "/" + r.Context().RepositoryStr(), stall: p.stall(), close: closing}
	if !h.upstream {
		re.query = url.Values{"ns": {strings.TrimSuffix(shown(r.Context().RegistryStr()+"/"), "/")}}.Encode()
	}
	g := &guard{host: h, probe: h.base.Path + "/" + r.Context().RepositoryStr() + "/manifests/" + r.Identifier(), next: transport.NewUserAgent(next, p.cfg.UserAgent)}
	var authorised http.RoundTripper
	err = p.again(ctx, func() error {
		authorised, err = transport.NewWithContext(ctx, registry, authn.FromConfig(auth), g, []string{"repository:" + repo + ":pull"})
		return err
	})
	if err != nil {
		return nil, g.cause(err)
	}
	re.client = &http.Client{Transport: authorised, CheckRedirect: redirect}
	done = true
	return re, nil
}

// get asks for something below the repository. from and to bound the bytes wanted where to is not 0.
func (r *remote) get(ctx context.Context, kind, path string, from, to int64, accept ...types.MediaType) (*http.Response, error) {
	address := r.base + "/" + kind + "/" + path
	if r.query != "" {
		address += "?" + r.query
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, kindKey{}, kind))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for _, a := range accept {
		req.Header.Add("Accept", string(a))
	}
	if to > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to-1, 10))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = watch(resp.Body, r.stall, ctx, cancel)
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// manifest fetches one by tag or digest, and holds it to a digest.
func (r *remote) manifest(ctx context.Context, id string) (*document, error) {
	resp, err := r.get(ctx, manifests, id, 0, 0, manifestTypes...)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	d := &document{raw: raw, digest: algorithm + hex.EncodeToString(sum[:])}
	want := resp.Header.Get("Docker-Content-Digest")
	if strings.Contains(id, ":") {
		want = id
	}
	if strings.HasPrefix(want, algorithm) && want != d.digest {
		return nil, fmt.Errorf("%w: manifest %s has the content of %s", ErrUnavailable, want, d.digest)
	}
	d.mediaType, err = manifestType(raw, resp.Header.Get("Content-Type"))
	return d, err
}

// manifestType holds what the registry says of a manifest against what the manifest says of itself: taken for a thing of
// another type, the same bytes would be another image under one digest.
func manifestType(raw []byte, header string) (types.MediaType, error) {
	var m struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Layers    json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("%w: its manifest cannot be read: %w", ErrUnsupported, err)
	}
	if m.Manifests != nil && m.Layers != nil {
		return "", fmt.Errorf("%w: its manifest is an index and an image at once", ErrUnsupported)
	}
	if bare, _, err := mime.ParseMediaType(header); err == nil {
		header = bare
	}
	said := types.MediaType(header)
	if !slices.Contains(manifestTypes, said) && m.MediaType != "" {
		return m.MediaType, nil // some servers know nothing but text and bytes
	}
	if m.MediaType != "" && m.MediaType != said {
		return "", fmt.Errorf("%w: its manifest says that it is %s, the registry says %s", ErrUnsupported, m.MediaType, said)
	}
	return said, nil
}
