package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// timed is a client whose server is watched: nothing may be written without a deadline, and none may be left standing
// while there is nothing to write, because over HTTP/2 it ends the stream.
type timed struct {
	*httptest.ResponseRecorder
	t        *testing.T
	deadline time.Time
	writes   int
}

func (w *timed) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

func (w *timed) Write(p []byte) (int, error) {
	w.writes++
	if w.deadline.IsZero() {
		w.t.Errorf("%q is written without a deadline", p)
	}
	return w.ResponseRecorder.Write(p)
}

func (w *timed) waits() {
	if !w.deadline.IsZero() {
		w.t.Error("a deadline stands while there is nothing to write")
	}
}

// lines is a log that grows while it is followed.
type lines struct {
	client *timed
	left   []string
}

func (l *lines) Read(p []byte) (int, error) {
	l.client.waits()
	if len(l.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.left[0])
	l.left = l.left[1:]
	return n, nil
}

func TestFollowersMayWait(t *testing.T) {
	w := &timed{ResponseRecorder: httptest.NewRecorder(), t: t}
	c := echo.New().NewContext(httptest.NewRequest(http.MethodGet, "/", nil), w)
	if err := passOn(c, http.StatusOK, "text/plain", &lines{client: w, left: []string{"one\n", "two\n"}}); err != nil {
		t.Fatal(err)
	}
	if w.Body.String() != "one\ntwo\n" || w.writes != 2 {
		t.Errorf("%q in %d writes", w.Body.String(), w.writes)
	}
	w.waits()
}

// silent is a watcher to which nothing happens until its end.
type silent struct {
	client *timed
	turns  int
}

func (s *silent) Next(context.Context) ([]store.Event, error) {
	s.client.waits()
	if s.turns--; s.turns < 0 {
		return nil, io.EOF
	}
	return nil, context.DeadlineExceeded
}

func (*silent) Revision() int64 { return 7 }
func (*silent) Stop()           {}

func TestWatchersMayWait(t *testing.T) {
	pods, found := resource.Lookup(corev1.SchemeGroupVersion.WithResource("pods"))
	if !found {
		t.Fatal("there are no pods")
	}
	w := &timed{ResponseRecorder: httptest.NewRecorder(), t: t}
	c := echo.New().NewContext(httptest.NewRequest(http.MethodGet, "/api/v1/pods?watch=true&allowWatchBookmarks=true", nil), w)
	watching, err := server.newWatching(c, pods)
	if err != nil {
		t.Fatal(err)
	}
	watching.open()
	if err := watching.follow(t.Context(), &silent{client: w, turns: 2}); err != io.EOF {
		t.Fatalf("the watch ended with %v", err)
	}
	if n := strings.Count(w.Body.String(), "BOOKMARK"); n != 2 {
		t.Errorf("%d bookmarks in %s", n, w.Body)
	}
}
