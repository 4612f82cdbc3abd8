package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"
)

// forwarder answers plain requests: those without a body or with a small one, and without an upgrade. It writes to and
// reads from the endpoint's connection itself; everything else goes through the standard library's reverse proxy.
type forwarder struct {
	routes  *routes
	conns   *upstreams
	buffers sync.Pool
}

func newForwarder(routes *routes) *forwarder {
	return &forwarder{routes: routes, conns: newUpstreams(), buffers: sync.Pool{New: func() any {
		b := make([]byte, copyBuffer)
		return &b
	}}}
}

// plain reports whether the forwarder can answer the request.
func plain(r *http.Request) bool {
	return r.ContentLength >= 0 && r.ContentLength <= maxSmallBody && len(r.Trailer) == 0 && strings.HasPrefix(r.RequestURI, "/") &&
		r.Header.Get("Upgrade") == "" && r.Header.Get("Te") == ""
}

// exchange is one request on its way.
type exchange struct {
	f    *forwarder
	w    http.ResponseWriter
	r    *http.Request
	to   *route
	body []byte
	// resent says that an endpoint broke off before it answered and another was asked, which is done once.
	resent bool
}

// serve forwards the request; an error means that nothing was answered yet.
func (f *forwarder) serve(w http.ResponseWriter, r *http.Request, to *route) error {
	x := &exchange{f: f, w: w, r: r, to: to}
	if r.ContentLength > 0 {
		x.body = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, x.body); err != nil {
			panic(http.ErrAbortHandler) // the client did not send what it announced
		}
	}
	client := clientOf(r)
	var tried []netip.AddrPort
	var last error
	for begin := time.Now(); mayTry(tried, begin); {
		backend, ok := f.routes.pick(r.Context(), to, client, tried)
		if !ok && x.resent {
			return last // it was begun once: that there is no other endpoint is not the news
		}
		if !ok {
			return errors.Join(errNoEndpoint, last)
		}
		retry, err := x.try(&backend)
		if err == nil || !retry {
			return err
		}
		tried, last = append(tried, backend.Addr), err
	}
	return errors.Join(errNoEndpoint, last)
}

// try sends the request to one endpoint. retry says that another may be asked: the request was not even begun there,
// or it only reads and the endpoint broke off without a word, as one that is being stopped may.
func (x *exchange) try(backend *Backend) (retry bool, err error) {
	repeat := repeatable(x.r.Method)
	if u := x.idle(backend.Addr, repeat); u != nil {
		answer, err := x.ask(u)
		if err == nil {
			x.reply(u, answer, backend)
			return false, nil
		}
		_ = u.conn.Close()
		if !repeat || x.r.Context().Err() != nil || errors.Is(err, errHeaderTooLarge) {
			return false, err
		}
		// The endpoint may have closed the idle connection as the request was on its way: once more, on a new one.
	}
	u, err := x.f.conns.dial(x.r.Context(), backend.Addr)
	if err != nil {
		return true, err
	}
	answer, err := x.ask(u)
	if err != nil {
		_ = u.conn.Close()
		retry = !x.resent && reads(x.r.Method) && brokeOff(err)
		x.resent = x.resent || retry
		return retry, err
	}
	x.reply(u, answer, backend)
	return false, nil
}

func brokeOff(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// idle is a kept connection that may be used, or nil. Whether the endpoint has closed it is looked at only for
// requests that cannot be sent again.
func (x *exchange) idle(addr netip.AddrPort, repeat bool) *upstream {
	for {
		u := x.f.conns.take(addr)
		if u == nil || repeat && time.Since(u.idle) < backendIdle || u.alive() {
			return u
		}
		_ = u.conn.Close()
	}
}

// ask writes the request and reads the answer's header. A client that goes away ends both.
func (x *exchange) ask(u *upstream) (*http.Response, error) {
	stop := context.AfterFunc(x.r.Context(), func() { _ = u.conn.SetDeadline(time.Unix(1, 0)) })
	writeRequest(u.out, x.r, x.body)
	if err := u.out.Flush(); err != nil {
		stop()
		return nil, fmt.Errorf("send request: %w", err)
	}
	for {
		u.left = maxAnswerHeader
		answer, err := http.ReadResponse(u.in, x.r)
		u.left = -1
		if err != nil {
			stop()
			return nil, fmt.Errorf("read answer: %w", err)
		}
		switch {
		case answer.StatusCode >= http.StatusOK:
			answer.Body = &stopping{answer.Body, stop}
			return answer, nil
		case answer.StatusCode == http.StatusSwitchingProtocols:
			stop()
			return nil, errors.New("read answer: the app changed protocols unasked")
		}
		// 100 and 103 are hints that nobody has to pass on
	}
}

// stopping is an answer's body that also ends the watch over the client when it is closed.
type stopping struct {
	io.ReadCloser
	stop func() bool
}

// reply passes the answer on. From its first byte an error can only break the connection off.
func (x *exchange) reply(u *upstream, answer *http.Response, backend *Backend) {
	whole := false
	defer func() {
		undisturbed := answer.Body.(*stopping).stop()
		if whole && undisturbed && !answer.Close && u.in.Buffered() == 0 {
			x.f.conns.put(u)
			return
		}
		_ = u.conn.Close()
	}()
	header := x.w.Header()
	copyHeader(header, answer.Header)
	if x.r.Header.Get(probeHeader) != "" {
		header.Set(podHeader, backend.Pod)
	}
	for name := range answer.Trailer {
		header.Add("Trailer", name)
	}
	x.w.WriteHeader(answer.StatusCode)
	if err := x.copy(u, answer); err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Trailer {
		for _, v := range values {
			header.Add(http.TrailerPrefix+name, v)
		}
	}
	whole = true
}

// copy passes the body on. One of unknown length is a stream: what has come is flushed before waiting for more.
func (x *exchange) copy(u *upstream, answer *http.Response) error {
	body := answer.Body.(*stopping).ReadCloser
	buffer := x.f.buffers.Get().(*[]byte)
	defer x.f.buffers.Put(buffer)
	streams := answer.ContentLength < 0
	for {
		n, err := body.Read(*buffer)
		if n > 0 {
			if _, werr := x.w.Write((*buffer)[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case streams && u.in.Buffered() == 0:
			if err := http.NewResponseController(x.w).Flush(); err != nil {
				return err
			}
		}
	}
}
