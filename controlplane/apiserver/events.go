package apiserver

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// events writes the frames of one watch.
type events struct {
	d       *resource.Definition
	form    form
	out     *echo.Response
	control *http.ResponseController
	tables  *tables
	buf     []byte // scratch for one frame
}

func newEvents(c echo.Context, d *resource.Definition, f form) (*events, error) {
	e := &events{d: d, form: f, out: c.Response(), control: http.NewResponseController(c.Response().Writer)}
	if f.as != asTable {
		return e, nil
	}
	var err error
	e.tables, err = newTables(c, d)
	return e, err
}

// open sends the headers.
func (e *events) open() {
	content := contentJSON
	if e.form.protobuf {
		content = contentProtobuf + ";stream=watch"
	}
	e.out.Header().Set(echo.HeaderContentType, content)
	e.out.Header().Set("Cache-Control", "no-cache, private")
	e.out.WriteHeader(http.StatusOK)
	e.extend()
}

// extend gives the client time for the next write. A transport without deadlines has other ways to end.
func (e *events) extend() { _ = e.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout)) }

// rest takes the deadline away while there is nothing to write: over HTTP/2 it would end the stream at its time all the
// same, and over HTTP/1 the connection may carry further requests.
func (e *events) rest() { _ = e.control.SetWriteDeadline(time.Time{}) }

func (e *events) flush() error {
	e.extend()
	return e.control.Flush()
}

// send shows one object.
func (e *events) send(t watch.EventType, entry *store.Entry) error {
	body, err := e.encodeEntry(entry)
	if err != nil {
		return err
	}
	return e.frame(t, body)
}

// encodeEntry gives the object's bytes as this watch wants them; JSON and protobuf are shared by all watchers.
func (e *events) encodeEntry(entry *store.Entry) ([]byte, error) {
	switch {
	case e.form.as != "":
		return e.encode(entry.Object())
	case e.form.protobuf:
		raw, ok := entry.Raw()
		if !ok {
			return nil, fmt.Errorf("encode %s/%s: it is not kept as protobuf", entry.Namespace, entry.Name)
		}
		return appendEnvelope(make([]byte, 0, framed(len(raw), e.d.GVK)), e.d.GVK, raw), nil
	}
	return entry.JSON()
}

// encode gives an object's bytes by encoding it.
func (e *events) encode(obj runtime.Object) ([]byte, error) {
	switch e.form.as {
	case asTable:
		table, err := e.tables.of(obj)
		if err != nil {
			return nil, err
		}
		e.tables.columns = nil // the client keeps those of the first event
		return json.Marshal(table)
	case asPartial:
		p, err := partial(obj)
		if err != nil {
			return nil, err
		}
		return e.plain(partialGVK, p)
	}
	return e.plain(e.d.GVK, obj)
}

func (e *events) plain(gvk schema.GroupVersionKind, obj any) ([]byte, error) {
	if e.form.protobuf {
		return envelopeOf(gvk, obj)
	}
	return json.Marshal(obj)
}

// bookmark tells how far the watch has seen; end marks the end of the initial events.
func (e *events) bookmark(revision int64, end bool) error {
	obj := e.d.Rules.New()
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.SetResourceVersion(strconv.FormatInt(revision, 10))
	if end {
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	body, err := e.encode(obj)
	if err != nil {
		return err
	}
	return e.frame(watch.Bookmark, body)
}

// fail ends the watch with an ERROR event.
func (e *events) fail(status metav1.Status) error {
	status.SetGroupVersionKind(statusGVK)
	body, err := e.plain(statusGVK, &status)
	if err != nil {
		return err
	}
	if err := e.frame(watch.Error, body); err != nil {
		return err
	}
	return e.flush()
}

// frame writes one event around an encoded object.
func (e *events) frame(t watch.EventType, body []byte) error {
	if e.form.protobuf {
		e.buf = appendProtobufEvent(e.buf[:0], t, body)
	} else {
		e.buf = append(e.buf[:0], `{"type":"`...)
		e.buf = append(e.buf, t...)
		e.buf = append(e.buf, `","object":`...)
		e.buf = append(e.buf, body...)
		e.buf = append(e.buf, "}\n"...)
	}
	_, err := e.out.Write(e.buf)
	return err
}

// appendProtobufEvent appends a metav1.WatchEvent {type, object: RawExtension{raw}} behind its length in four bytes.
func appendProtobufEvent(out []byte, t watch.EventType, body []byte) []byte {
	start := len(out)
	out = append(out, 0, 0, 0, 0)
	out = appendString(out, field1, string(t))
	out = append(out, field2)
	out = binary.AppendUvarint(out, uint64(1+uvarintLen(len(body))+len(body)))
	out = appendBytes(out, field1, body)
	binary.BigEndian.PutUint32(out[start:], uint32(len(out)-start-4))
	return out
}
