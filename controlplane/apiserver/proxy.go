package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/petrelrun/petrel/controlplane/resource"
)

// nodeProxy passes a GET on to a node's own server, and the answer back as it comes: metrics, health, flows.
func (s *Server) nodeProxy(nodes *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		name := param(c, "name")
		entry, err := s.registry.Get(c.Request().Context(), nodes, "", name, false)
		if err != nil {
			return err
		}
		host, err := nodeAddress(entry.Object())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(c.Request().Context())
		defer cancel()
		defer context.AfterFunc(s.streams, cancel)()
		defer s.metrics.longRunning("CONNECT", nodes)()
		req, err := s.nodeRequest(ctx, name, url.URL{Host: host, Path: "/" + strings.TrimPrefix(param(c, "*"), "/"), RawQuery: c.Request().URL.RawQuery})
		if err != nil {
			return err
		}
		if accept := c.Request().Header.Get("Accept"); accept != "" {
			req.Header.Set("Accept", accept)
		}
		resp, err := s.cfg.NodeTransport.RoundTrip(req)
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			return apierrors.NewServiceUnavailable(fmt.Sprintf("node %s does not answer at %s: %v", name, host, err))
		}
		defer resp.Body.Close()
		return passOn(c, resp.StatusCode, resp.Header.Get(echo.HeaderContentType), resp.Body)
	}
}

// passOn sends what comes as it comes. There is a deadline for as long as something is to be sent: over HTTP/2 one would
// end the stream at its time also while a follower waits for the next line.
func passOn(c echo.Context, status int, contentType string, body io.Reader) error {
	w := c.Response()
	if contentType != "" {
		w.Header().Set(echo.HeaderContentType, contentType)
	}
	w.WriteHeader(status)
	control := http.NewResponseController(w.Writer)
	rest := func() { _ = control.SetWriteDeadline(time.Time{}) }
	defer rest()
	_ = control.Flush()
	rest()
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(streamWriteTimeout))
			if _, err := w.Write(buf[:n]); err != nil {
				return nil // the reader is gone
			}
			if err := control.Flush(); err != nil {
				return nil // the reader is gone
			}
			rest()
		}
		if err != nil {
			return nil // the headers are out; the end of the stream is all that can be told
		}
	}
}
