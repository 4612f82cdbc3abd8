package apiserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/store"
)

// listOrWatch serves the two things that one URL means.
func (s *Server) listOrWatch(d *resource.Definition) echo.HandlerFunc {
	list, watch := s.list(d), s.watch(d)
	return func(c echo.Context) error {
		if boolean(c.QueryParams(), "watch") {
			return watch(c)
		}
		return list(c)
	}
}

// watching is one watch under way.
type watching struct {
	*events
	server    *Server
	d         *resource.Definition
	query     store.Query
	reading   reading
	bookmarks bool
	deadline  time.Time
}

func (s *Server) watch(d *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		w, err := s.newWatching(c, d)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithDeadline(c.Request().Context(), w.deadline)
		defer cancel()
		defer context.AfterFunc(s.streams, cancel)()
		defer s.metrics.longRunning("WATCH", d)()
		return w.run(ctx)
	}
}

func (s *Server) newWatching(c echo.Context, d *resource.Definition) (*watching, error) {
	f, err := negotiate(c.Request().Header.Get("Accept"), forms(d)|mediaStream)
	if err != nil {
		return nil, err
	}
	w := &watching{server: s, d: d, bookmarks: boolean(c.QueryParams(), "allowWatchBookmarks")}
	if w.query, err = query(c, d); err != nil {
		return nil, err
	}
	if w.reading, err = parseReading(c.QueryParams()); err != nil {
		return nil, err
	}
	if err := w.reading.checkWatch(); err != nil {
		return nil, err
	}
	timeout, given, err := integer(c.QueryParams(), "timeoutSeconds")
	if err != nil {
		return nil, err
	}
	lasts := minWatch + rand.N(maxWatch-minWatch)
	if given && timeout > 0 {
		lasts = time.Duration(min(timeout, int64(maxWatch/time.Second))) * time.Second
	}
	w.deadline = time.Now().Add(lasts)
	w.events, err = newEvents(c, d, f)
	return w, err
}

// run answers with HTTP errors until the first byte is out, and with ERROR events from then on.
func (w *watching) run(ctx context.Context) error {
	from, first, err := w.start(ctx)
	if err != nil {
		return err
	}
	watcher, err := w.server.registry.Watch(ctx, w.d, w.query, from)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	w.open()
	defer w.rest()
	if err := w.initial(first, from); err != nil {
		return nil // the client is gone
	}
	err = w.follow(ctx, watcher)
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && ctx.Err() == nil {
		_ = w.fail(status.Status())
	}
	return nil
}

// start finds the revision to begin after and what has to be shown before: with a revision nothing, otherwise all
// there is, unless the client has said that it does not want that.
func (w *watching) start(ctx context.Context) (from int64, first []*store.Entry, err error) {
	r := w.reading
	wanted := r.initial != nil && *r.initial || r.initial == nil && r.revision == 0
	if !wanted && r.revision > 0 {
		return r.revision, nil, nil
	}
	opts := store.ListOptions{Query: w.query, Revision: r.revision, Fresh: r.version == ""}
	if !wanted {
		opts.Limit = 1 // only its revision is of interest
	}
	page, err := w.server.registry.List(ctx, w.d, opts)
	if err != nil || !wanted {
		return revisionOf(page), nil, err
	}
	return page.Revision, page.Entries, nil
}

func revisionOf(page *store.List) int64 {
	if page == nil {
		return 0
	}
	return page.Revision
}

// initial shows what there is, and says where that ends if the client asked for it.
func (w *watching) initial(entries []*store.Entry, revision int64) error {
	for i, e := range entries {
		if err := w.send(watch.Added, e); err != nil {
			return err
		}
		if i%flushEvery == flushEvery-1 {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	if r := w.reading; r.initial != nil && *r.initial && w.bookmarks {
		if err := w.bookmark(revision, true); err != nil {
			return err
		}
	}
	return w.flush()
}

// follow sends changes, and bookmarks while there are none.
func (w *watching) follow(ctx context.Context, watcher store.Watcher) error {
	for ctx.Err() == nil {
		w.rest()
		batch, err := w.next(ctx, watcher)
		w.extend()
		switch {
		case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
			if w.bookmarks && w.server.streams.Err() == nil {
				if err := w.bookmark(watcher.Revision(), false); err != nil {
					return err
				}
			}
		case err != nil:
			return err
		}
		for _, ev := range batch {
			if err := w.send(ev.Type, ev.Entry); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// next waits for changes, but not longer than until a bookmark is due. The last one is sent as the watch ends, so
// that the client can resume from there.
func (w *watching) next(ctx context.Context, watcher store.Watcher) ([]store.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, bookmarkInterval)
	defer cancel()
	return watcher.Next(ctx)
}
