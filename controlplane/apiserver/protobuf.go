package apiserver

import (
	"encoding/binary"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/store"
)

// Kubernetes' protobuf is a message behind four bytes of magic inside runtime.Unknown, which names the type. The
// store keeps the bare messages, so an answer is their bytes in a frame.
var magic = []byte("k8s\x00")

// Tags of the length-delimited fields 1 to 4.
const (
	field1 = 1<<3 | 2
	field2 = 2<<3 | 2
	field3 = 3<<3 | 2
	field4 = 4<<3 | 2
)

type marshaler interface{ Marshal() ([]byte, error) }

func appendBytes(out []byte, tag byte, b []byte) []byte {
	out = append(out, tag)
	out = binary.AppendUvarint(out, uint64(len(b)))
	return append(out, b...)
}

func appendString(out []byte, tag byte, s string) []byte {
	out = append(out, tag)
	out = binary.AppendUvarint(out, uint64(len(s)))
	return append(out, s...)
}

// typeMeta is the first field of the frame.
func typeMeta(gvk schema.GroupVersionKind) []byte {
	var t []byte
	t = appendString(t, field1, gvk.GroupVersion().String())
	return appendString(t, field2, gvk.Kind)
}

// framed is how long a frame around n bytes is at most.
func framed(n int, gvk schema.GroupVersionKind) int {
	return n + len(magic) + len(gvk.Group) + len(gvk.Version) + len(gvk.Kind) + 32
}

// appendEnvelope appends the frame around a message.
func appendEnvelope(out []byte, gvk schema.GroupVersionKind, raw []byte) []byte {
	out = append(out, magic...)
	out = appendBytes(out, field1, typeMeta(gvk))
	out = appendBytes(out, field2, raw)
	// contentEncoding and contentType, which upstream always writes, empty.
	return append(out, field3, 0, field4, 0)
}

// envelopeOf encodes a message and frames it.
func envelopeOf(gvk schema.GroupVersionKind, obj any) ([]byte, error) {
	m, ok := obj.(marshaler)
	if !ok {
		return nil, fmt.Errorf("encode %s: %T has no protobuf form", gvk.Kind, obj)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
	}
	return appendEnvelope(make([]byte, 0, framed(len(raw), gvk)), gvk, raw), nil
}

// listMeta is the metadata of a page.
func listMeta(page *store.List) metav1.ListMeta {
	return metav1.ListMeta{
		ResourceVersion: strconv.FormatInt(page.Revision, 10), Continue: page.Continue, RemainingItemCount: page.Remaining,
	}
}

// protobufList frames a list out of the entries' bytes.
func protobufList(gvk schema.GroupVersionKind, page *store.List) ([]byte, error) {
	meta := listMeta(page)
	head, err := meta.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	n := len(head) + 8
	for _, e := range page.Entries {
		raw, _ := e.Raw()
		n += len(raw) + 8
	}
	// The message is built where it will lie in the frame: the frame's head is as long as its length's encoding.
	out := make([]byte, 0, framed(n, gvk))
	out = append(out, magic...)
	out = appendBytes(out, field1, typeMeta(gvk))
	out = append(out, field2)
	body := 1 + uvarintLen(len(head)) + len(head)
	for _, e := range page.Entries {
		raw, ok := e.Raw()
		if !ok {
			return nil, fmt.Errorf("encode list: %s/%s is not kept as protobuf", e.Namespace, e.Name)
		}
		body += 1 + uvarintLen(len(raw)) + len(raw)
	}
	out = binary.AppendUvarint(out, uint64(body))
	out = appendBytes(out, field1, head)
	for _, e := range page.Entries {
		raw, _ := e.Raw()
		out = appendBytes(out, field2, raw)
	}
	return append(out, field3, 0, field4, 0), nil
}

func uvarintLen(n int) int {
	l := 1
	for n >= 0x80 {
		n >>= 7
		l++
	}
	return l
}
