package apiserver

import (
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"", "*/*", contentProtobuf + ",application/json;q=.5", "application/json;as=Table;v=v1;g=meta.k8s.io", ";;;", "a/b;q=nan", strings.Repeat("a/b,", 100)} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, accept string, can int) {
		got, err := negotiate(accept, mediaSet(can))
		if err != nil {
			if !apierrors.IsNotAcceptable(err) {
				t.Fatalf("%q: %v", accept, err)
			}
			return
		}
		if got.protobuf && got.as == asTable || got.protobuf && got.yaml {
			t.Fatalf("%q: %+v cannot be written", accept, got)
		}
	})
}

func FuzzListOptions(f *testing.F) {
	for _, s := range []string{"", "limit=5&continue=x", "resourceVersion=7&resourceVersionMatch=Exact", "labelSelector=a%20in%20(b,c)", "fieldSelector=metadata.name%3Dx,status.phase!=y", "sendInitialEvents=true"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		query, err := parseQuery("ns", q, []string{"status.phase"})
		if err == nil {
			var opts store.ListOptions
			if opts, err = parseListOptions(query, q); err == nil && (opts.Limit < 0 || opts.Revision < 0 || opts.Exact && opts.Revision == 0) {
				t.Fatalf("%q: %+v", raw, opts)
			}
		}
		if err != nil && !apierrors.IsBadRequest(err) && !apierrors.IsInvalid(err) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

func FuzzDeleteOptions(f *testing.F) {
	f.Add("application/json", []byte(`{"gracePeriodSeconds":5,"propagationPolicy":"Orphan"}`))
	f.Add(contentProtobuf, []byte("k8s\x00\n\x17\n\x02v1\x12\rDeleteOptions\x12\x02\x08\x05\x1a\x00\"\x00"))
	f.Add(contentYAML, []byte("kind: DeleteOptions\napiVersion: apps/v1\n"))
	d := newDecoders(resource.Scheme())
	f.Fuzz(func(t *testing.T, content string, body []byte) {
		if _, err := d.deleteOptions(content, body); err != nil && !apierrors.IsBadRequest(err) && !apierrors.IsUnsupportedMediaType(err) {
			t.Fatalf("%q: %v", content, err)
		}
	})
}
