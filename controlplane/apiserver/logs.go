package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/petrelrun/petrel/controlplane/resource"
)

// annotationDefaultContainer names the container that is meant where none is named, by Kubernetes' convention.
const annotationDefaultContainer = "kubectl.kubernetes.io/default-container"

// logs streams a container's output from the node that runs it.
func (s *Server) logs(pods, nodes *resource.Definition) echo.HandlerFunc {
	return func(c echo.Context) error {
		target, err := s.logTarget(c, pods, nodes)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(c.Request().Context())
		defer cancel()
		defer context.AfterFunc(s.streams, cancel)()
		defer s.metrics.longRunning("CONNECT", pods)()
		req, err := s.nodeRequest(ctx, target.node, target.url)
		if err != nil {
			return err
		}
		resp, err := s.cfg.NodeTransport.RoundTrip(req)
		if err != nil {
			return unreachable(target, err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return target.failed(resp)
		}
		return passOn(c, http.StatusOK, echo.MIMETextPlain, resp.Body)
	}
}

// logTarget is where a container's output is to be had.
type logTarget struct {
	pod       *corev1.Pod
	container string
	node      string
	url       url.URL
}

func (s *Server) logTarget(c echo.Context, pods, nodes *resource.Definition) (*logTarget, error) {
	ctx := c.Request().Context()
	options, err := logOptions(c.QueryParams())
	if err != nil {
		return nil, err
	}
	pod, err := s.namedPod(c, pods)
	if err != nil {
		return nil, err
	}
	t := &logTarget{pod: pod, node: pod.Spec.NodeName}
	if t.container, err = chooseContainer(pod, c.QueryParam("container")); err != nil {
		return nil, err
	}
	if t.node == "" {
		return nil, t.waiting("the pod is not assigned to a node yet")
	}
	host, err := s.nodeHost(ctx, nodes, t.node)
	if err != nil {
		return nil, err
	}
	t.url = url.URL{
		Host: host, RawQuery: options.Encode(),
		Path: "/containerLogs/" + pod.Namespace + "/" + pod.Name + "/" + t.container,
	}
	return t, nil
}

// namedPod is the newest version of the pod that a request names.
func (s *Server) namedPod(c echo.Context, pods *resource.Definition) (*corev1.Pod, error) {
	entry, err := s.registry.Get(c.Request().Context(), pods, param(c, "ns"), param(c, "name"), true)
	if err != nil {
		return nil, err
	}
	pod, ok := entry.Object().(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("get pod: got a %T", entry.Object())
	}
	return pod, nil
}

// nodeHost is where a node's server is.
func (s *Server) nodeHost(ctx context.Context, nodes *resource.Definition, name string) (string, error) {
	entry, err := s.registry.Get(ctx, nodes, "", name, false)
	if err != nil {
		return "", err
	}
	return nodeAddress(entry.Object())
}

// chooseContainer finds the container that is meant.
func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	var all []string
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			all = append(all, list[i].Name)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		all = append(all, pod.Spec.EphemeralContainers[i].Name)
	}
	if name == "" && len(pod.Spec.Containers) == 1 {
		return pod.Spec.Containers[0].Name, nil
	}
	if preferred := pod.Annotations[annotationDefaultContainer]; name == "" && slices.Contains(all, preferred) {
		return preferred, nil
	}
	if name == "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(all, " ")))
	}
	if !slices.Contains(all, name) {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s, choose one of: [%s]", name, pod.Name, strings.Join(all, " ")))
	}
	return name, nil
}

// logOptions checks the query and keeps what a node understands.
func logOptions(q url.Values) (url.Values, error) {
	out := url.Values{}
	var errs field.ErrorList
	for _, name := range []string{"follow", "previous", "timestamps"} {
		if boolean(q, name) {
			out.Set(name, "true")
		}
	}
	for name, least := range map[string]int64{"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1} {
		n, given, err := integer(q, name)
		if err != nil {
			return nil, err
		}
		if given && n < least {
			errs = append(errs, field.Invalid(field.NewPath(name), n, "must be greater than or equal to "+strconv.FormatInt(least, 10)))
		}
		if given {
			out.Set(name, strconv.FormatInt(n, 10))
		}
	}
	switch stream := q.Get("stream"); stream {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		if out.Has("tailLines") {
			errs = append(errs, field.Forbidden(field.NewPath("tailLines"), "the last lines are counted over both streams: it may not be given with stream "+stream))
		}
		out.Set("stream", stream)
	default:
		errs = append(errs, field.NotSupported(field.NewPath("stream"), stream,
			[]string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}))
	}
	if since := q.Get("sinceTime"); since != "" {
		if _, err := time.Parse(time.RFC3339Nano, since); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("sinceTime"), since, "must be a time as in RFC 3339"))
		}
		if out.Has("sinceSeconds") {
			errs = append(errs, field.Forbidden(field.NewPath("sinceTime"), "at most one of sinceTime and sinceSeconds may be given"))
		}
		out.Set("sinceTime", since)
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), "", errs)
	}
	return out, nil
}

func nodeAddress(obj any) (string, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return "", fmt.Errorf("find node: got a %T", obj)
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && port != 0 {
			return net.JoinHostPort(a.Address, strconv.Itoa(int(port))), nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has not said yet where it is to be reached (status.addresses, status.daemonEndpoints)", node.Name))
}

func (t *logTarget) waiting(reason string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", t.container, t.pod.Name, reason))
}

// failed tells why a node has no logs: the pod's status knows best why a container has not started.
func (t *logTarget) failed(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxNodeError))
	status := &t.pod.Status
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for _, cs := range list {
			if w := cs.State.Waiting; cs.Name == t.container && w != nil && cs.LastTerminationState.Terminated == nil {
				return t.waiting(w.Reason)
			}
		}
	}
	message := strings.TrimSpace(string(text))
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(message)
	case http.StatusNotFound:
		return &apierrors.StatusError{ErrStatus: refusedByNode(http.StatusNotFound, message)}
	}
	return fmt.Errorf("node %s answered %s: %s", t.node, resp.Status, message)
}

func unreachable(t *logTarget, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("node %s does not answer at %s: %v", t.node, t.url.Host, err))
}
