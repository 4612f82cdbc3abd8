package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/petrelrun/petrel/controlplane/auth"
)

// use sets up what every request passes, outermost first.
func (s *Server) use() {
	s.echo.Use(s.observe, s.recover, s.authenticate)
}

// recover turns a panic into a 500, unless it is the way to cut a connection.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				s.cfg.Logger.Error("panic in a request", "method", c.Request().Method, "path", c.Request().URL.Path,
					"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = apierrors.NewInternalError(errors.New("the request ran into a bug of this server, which is in its log"))
			}
		}()
		return next(c)
	}
}

// authenticate finds out who asks. It comes before every route, so that not even a 404 is told to a foreign page.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		user, err := s.cfg.Authenticator.Authenticate(c.Request())
		s.logins.observe(c.Request(), err)
		if err != nil {
			if tls := c.Request().TLS; tls != nil && len(tls.PeerCertificates) > 0 {
				// The next connection may be opened with a certificate that was renewed since.
				c.Response().Header().Set("Connection", "close")
			}
			return err
		}
		c.SetRequest(c.Request().WithContext(auth.WithUser(c.Request().Context(), user)))
		return next(c)
	}
}

// authorize asks whether the user may; attributes that the URL holds are filled in here.
func (s *Server) authorize(c echo.Context, a auth.Attributes) error {
	a.User, _ = auth.UserFrom(c.Request().Context())
	a.Namespace, a.Name, a.Path = param(c, "ns"), param(c, "name"), c.Request().URL.Path
	if a.Verb == "list" || a.Verb == "watch" {
		a.Name = selectedName(c.QueryParams())
	}
	return s.cfg.Authorizer.Authorize(c.Request().Context(), &a)
}

// open guards a path that is no resource: discovery, health, documents.
func (s *Server) open(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.authorize(c, auth.Attributes{Verb: strings.ToLower(c.Request().Method)}); err != nil {
			return err
		}
		return next(c)
	}
}

// limited bounds a request in number, body and time. A stream is bounded by what carries it out.
func (s *Server) limited(mutating bool, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		done, ok := s.inflight.enter(mutating)
		if !ok {
			return apierrors.NewTooManyRequests("the server is serving as many requests as it may; try again later", retryAfterSeconds)
		}
		defer done()
		r := c.Request()
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		defer bounded(c.Response().Writer)()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(c.Response().Writer, r.Body, MaxRequestBody)
		c.SetRequest(r)
		return next(c)
	}
}

// bounded gives the connection as long as the request, so that a client that sends or takes its bytes one by one holds
// its place among the requests no longer; what it answers takes the bounds away again. A transport without deadlines
// has none to set.
func bounded(w http.ResponseWriter) func() {
	control := http.NewResponseController(w)
	deadline := time.Now().Add(requestTimeout)
	_ = control.SetReadDeadline(deadline)
	_ = control.SetWriteDeadline(deadline)
	return func() {
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
	}
}

// observe counts and times. Errors are written here, so that their codes are counted too.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		begun := time.Now()
		if err := next(c); err != nil {
			s.writeError(c, err)
		}
		s.metrics.observe(c, time.Since(begun))
		return nil
	}
}
