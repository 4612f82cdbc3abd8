package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/resource"
)

// stream serves pods/exec, attach and portforward: the connection is upgraded to what the client and the node agree on,
// and what they say is passed on byte by byte.
func (s *Server) stream(pods, nodes *resource.Definition, kind string) echo.HandlerFunc {
	return func(c echo.Context) error {
		// A WebSocket begins with GET. Whoever may only read must not run commands all the same.
		err := s.authorize(c, auth.Attributes{
			Verb: "create", Group: pods.GVR.Group, Version: pods.GVR.Version, Resource: pods.GVR.Resource, Subresource: kind,
		})
		if err != nil {
			return err
		}
		if c.Request().Header.Get("Upgrade") == "" {
			return apierrors.NewBadRequest("this is a stream: the request has to ask for an upgrade to SPDY or WebSocket")
		}
		pod, err := s.namedPod(c, pods)
		if err != nil {
			return err
		}
		target, err := streamURL(pod, kind, c.QueryParams())
		if err != nil {
			return err
		}
		if target.Host, err = s.nodeHost(c.Request().Context(), nodes, pod.Spec.NodeName); err != nil {
			return err
		}
		defer s.metrics.longRunning("CONNECT", pods)()
		return s.passUpgrade(c, pod.Spec.NodeName, target)
	}
}

// streamURL is what the node is asked for.
func streamURL(pod *corev1.Pod, kind string, q url.Values) (url.URL, error) {
	if pod.Spec.NodeName == "" {
		return url.URL{}, apierrors.NewBadRequest(fmt.Sprintf("pod %s is not assigned to a node yet", pod.Name))
	}
	if kind == "portforward" {
		asked := url.Values{}
		if ports := q["ports"]; len(ports) > 0 {
			asked["port"] = ports
		}
		return url.URL{Path: "/portForward/" + pod.Namespace + "/" + pod.Name, RawQuery: asked.Encode()}, nil
	}
	container, err := chooseContainer(pod, q.Get("container"))
	if err != nil {
		return url.URL{}, err
	}
	asked := url.Values{}
	for name, theirs := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		if boolean(q, name) {
			asked.Set(theirs, "1")
		}
	}
	if asked.Has("tty") {
		asked.Del("error") // a terminal has one output
	}
	if !asked.Has("input") && !asked.Has("output") && !asked.Has("error") {
		return url.URL{}, apierrors.NewBadRequest("at least one of stdin, stdout and stderr must be asked for")
	}
	if command := q["command"]; kind == "exec" && (len(command) == 0 || command[0] == "") {
		return url.URL{}, apierrors.NewBadRequest("a command must be given")
	} else if kind == "exec" {
		asked["command"] = command
	}
	return url.URL{Path: "/" + kind + "/" + pod.Namespace + "/" + pod.Name + "/" + container, RawQuery: asked.Encode()}, nil
}

// passedHeaders are what a node needs of a client's upgrade. Credentials are not among them, and no Origin: what a browser
// may do was decided here.
var passedHeaders = []string{
	"Connection", "Upgrade", "User-Agent", "X-Stream-Protocol-Version",
	"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions",
}

// passUpgrade has the client and the node talk to each other until one of them, or this server, ends it.
func (s *Server) passUpgrade(c echo.Context, node string, target url.URL) error {
	return s.passThrough(c, node, target, func(h http.Header) http.Header {
		passed := http.Header{}
		for _, name := range passedHeaders {
			if values, ok := h[name]; ok {
				passed[name] = values
			}
		}
		return passed
	}, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusSwitchingProtocols {
			return notUpgraded(node, resp)
		}
		return nil
	})
}

// passThrough asks a node in the client's place. headers makes the node's of the client's, and check looks at the answer.
func (s *Server) passThrough(c echo.Context, node string, target url.URL, headers func(http.Header) http.Header, check func(*http.Response) error) error {
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	host := target.Host
	ctx, target, err := s.atNode(ctx, node, target)
	if err != nil {
		return err
	}
	var failed error
	proxy := &httputil.ReverseProxy{
		Transport: s.cfg.NodeTransport, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = &target, ""
			p.Out.Header = headers(p.Out.Header)
		},
		ModifyResponse: check,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ErrorLog:       slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(c.Response(), c.Request().WithContext(ctx))
	var told apierrors.APIStatus
	if failed != nil && !errors.As(failed, &told) && !errors.Is(failed, context.Canceled) {
		failed = apierrors.NewServiceUnavailable(fmt.Sprintf("node %s does not answer at %s: %v", node, host, failed))
	}
	return failed
}

// notUpgraded is why a node refused, in its own words.
func notUpgraded(node string, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxNodeError))
	message := strings.TrimSpace(string(text))
	reasons := map[int]metav1.StatusReason{
		http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}
	if reason, ok := reasons[resp.StatusCode]; ok {
		status := refusedByNode(resp.StatusCode, message)
		status.Reason = reason
		return &apierrors.StatusError{ErrStatus: status}
	}
	return apierrors.NewInternalError(fmt.Errorf("node %s answered %s: %s", node, resp.Status, message))
}
