package apiserver

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/upstream"
)

// contentOpenAPIV2 is the protobuf form of version 2. client-go asks for it under an older name, with an @ that is no
// media type.
const contentOpenAPIV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

// openAPI holds the documents that describe the API: upstream's, embedded and cut to what is served, and those of
// Petrel's own kinds, made from their Go types when first asked for. Documents are kept and sent gzipped.
type openAPI struct {
	v3    func() (map[string]gzipped, error)
	index func() ([]byte, error)
	v2    func() (gzipped, error)
	v2pb  func() (gzipped, error)
}

// gzipped is a document with what caches know it by.
type gzipped struct {
	body []byte
	hash string
}

func newOpenAPI() *openAPI {
	o := &openAPI{v2: sync.OnceValues(documentV2), v2pb: sync.OnceValues(documentV2Protobuf)}
	o.v3 = sync.OnceValues(documentsV3)
	o.index = sync.OnceValues(o.makeIndex)
	return o
}

// warmUp makes what almost every client asks for, and the schemas of apply.
func (o *openAPI) warmUp() {
	resource.WarmUp()
	_, _ = o.index()
}

func hashed(body []byte) gzipped {
	return gzipped{body: body, hash: fmt.Sprintf("%X", sha256.Sum256(body))}
}

func documentsV3() (map[string]gzipped, error) {
	out := map[string]gzipped{}
	for path, body := range upstream.OpenAPIV3() {
		out[path] = hashed(body)
	}
	for path, doc := range ownDocumentsV3() {
		body, err := zip(doc)
		if err != nil {
			return nil, fmt.Errorf("make OpenAPI document %s: %w", path, err)
		}
		out[path] = hashed(body)
	}
	return out, nil
}

func (o *openAPI) makeIndex() ([]byte, error) {
	docs, err := o.v3()
	if err != nil {
		return nil, err
	}
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for path, doc := range docs {
		paths[path] = entry{"/openapi/v3/" + path + "?hash=" + url.QueryEscape(doc.hash)}
	}
	return json.Marshal(map[string]any{"paths": paths})
}

// documentV2 joins the paths and definitions of both sides.
func documentV2() (gzipped, error) {
	body, err := unzip(upstream.OpenAPIV2JSON())
	if err != nil {
		return gzipped{}, err
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(body, &doc); err != nil {
		return gzipped{}, fmt.Errorf("read OpenAPI version 2: %w", err)
	}
	own := ownDocumentV2()
	for section, add := range map[string]map[string]any{"paths": own.paths, "definitions": own.definitions} {
		var have map[string]json.RawMessage
		if err := json.Unmarshal(doc[section], &have); err != nil {
			return gzipped{}, fmt.Errorf("read OpenAPI version 2 %s: %w", section, err)
		}
		for name, v := range add {
			if _, ok := have[name]; ok {
				continue // both describe metadata
			}
			if have[name], err = json.Marshal(v); err != nil {
				return gzipped{}, err
			}
		}
		if doc[section], err = json.Marshal(have); err != nil {
			return gzipped{}, err
		}
	}
	zipped, err := zip(doc)
	return hashed(zipped), err
}

// documentV2Protobuf appends the one message to the other, which protobuf reads as the union of their lists.
func documentV2Protobuf() (gzipped, error) {
	body, err := unzip(upstream.OpenAPIV2Protobuf())
	if err != nil {
		return gzipped{}, err
	}
	have, err := definitionsV2()
	if err != nil {
		return gzipped{}, err
	}
	own, err := ownDocumentV2().protobuf(have)
	if err != nil {
		return gzipped{}, err
	}
	zipped, err := zipBytes(append(body, own...))
	return hashed(zipped), err
}

// definitionsV2 are the schemas that upstream's document has.
func definitionsV2() (map[string]json.RawMessage, error) {
	body, err := unzip(upstream.OpenAPIV2JSON())
	if err != nil {
		return nil, err
	}
	var doc struct {
		Definitions map[string]json.RawMessage `json:"definitions"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("read OpenAPI version 2: %w", err)
	}
	return doc.Definitions, nil
}

func (s *Server) routeOpenAPI() {
	s.echo.GET("/openapi/v3", s.open(func(c echo.Context) error {
		body, err := s.openapi.index()
		if err != nil {
			return err
		}
		return writeJSON(c, http.StatusOK, form{}, body)
	}))
	s.echo.GET("/openapi/v3/*", s.open(func(c echo.Context) error {
		docs, err := s.openapi.v3()
		if err != nil {
			return err
		}
		doc, ok := docs[strings.Trim(c.Param("*"), "/")]
		if !ok {
			return echo.ErrNotFound
		}
		if hash := c.QueryParam("hash"); hash == doc.hash {
			// The address names the content, so it never changes.
			c.Response().Header().Set("Cache-Control", "public, immutable")
			c.Response().Header().Set("Expires", "Fri, 31 Dec 9999 23:59:59 GMT")
		}
		return writeGzipped(c, contentJSON, doc)
	}))
	s.echo.GET("/openapi/v2", s.open(func(c echo.Context) error {
		doc, content := s.openapi.v2, contentJSON
		if strings.Contains(c.Request().Header.Get("Accept"), "proto-openapi") {
			doc, content = s.openapi.v2pb, contentOpenAPIV2
		}
		body, err := doc()
		if err != nil {
			return err
		}
		return writeGzipped(c, content, body)
	}))
}

// writeGzipped sends a document as it is kept, or unpacked to the few that cannot take it so.
func writeGzipped(c echo.Context, content string, doc gzipped) error {
	h, etag := c.Response().Header(), `"`+doc.hash+`"`
	h.Set("ETag", etag)
	h.Set("Vary", "Accept, Accept-Encoding")
	if matchesETag(c.Request().Header.Get("If-None-Match"), etag) {
		return c.NoContent(http.StatusNotModified)
	}
	if strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		return c.Blob(http.StatusOK, content, doc.body)
	}
	body, err := unzip(doc.body)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, content, body)
}

func zip(doc any) ([]byte, error) {
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return zipBytes(body)
}

func zipBytes(body []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("unpack document: %w", err)
	}
	return io.ReadAll(z)
}
