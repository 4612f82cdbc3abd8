package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/auth"
)

var statusGVK = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// writeError is the one place where an error becomes an answer.
func (s *Server) writeError(c echo.Context, err error) {
	if c.Response().Committed {
		return
	}
	status := statusOf(c.Request(), err)
	if status.Code >= http.StatusInternalServerError && c.Request().Context().Err() == nil {
		s.cfg.Logger.Error("request failed", "method", c.Request().Method, "path", c.Request().URL.Path,
			"code", status.Code, "error", err)
	}
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	if err := writeStatus(c, status); err != nil {
		s.cfg.Logger.Debug("error could not be sent", "error", err)
	}
}

func writeStatus(c echo.Context, status *metav1.Status) error {
	if m, err := negotiate(c.Request().Header.Get("Accept"), mediaPlain|mediaProtobuf); err == nil && m.protobuf {
		body, err := envelopeOf(statusGVK, status)
		if err != nil {
			return err
		}
		return c.Blob(int(status.Code), contentProtobuf, body)
	}
	body, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return c.Blob(int(status.Code), contentJSON, append(body, '\n'))
}

// statusOf maps an error to what clients understand.
func statusOf(r *http.Request, err error) *metav1.Status {
	var (
		api      apierrors.APIStatus
		refusal  *auth.Refusal
		routing  *echo.HTTPError
		tooLarge *http.MaxBytesError
		status   metav1.Status
	)
	switch {
	case errors.As(err, &api):
		status = api.Status()
	case errors.As(err, &refusal):
		status = refused(refusal)
	case errors.As(err, &tooLarge):
		status = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the body may have %d bytes", tooLarge.Limit)).Status()
	case errors.As(err, &routing):
		status = unrouted(r, routing)
	case errors.Is(err, context.DeadlineExceeded):
		status = apierrors.NewTimeoutError("the request took too long and may or may not have had an effect", retryAfterSeconds).Status()
	default:
		status = apierrors.NewInternalError(err).Status()
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	status.SetGroupVersionKind(statusGVK)
	return &status
}

func refused(r *auth.Refusal) metav1.Status {
	reason := metav1.StatusReasonForbidden
	if r.Status == http.StatusUnauthorized {
		reason = metav1.StatusReasonUnauthorized
	}
	return metav1.Status{Status: metav1.StatusFailure, Code: int32(r.Status), Reason: reason, Message: r.Message}
}

func unrouted(r *http.Request, err *echo.HTTPError) metav1.Status {
	switch err.Code {
	case http.StatusNotFound:
		return metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
			Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
		}
	case http.StatusMethodNotAllowed:
		return metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusMethodNotAllowed, Reason: metav1.StatusReasonMethodNotAllowed,
			Message: fmt.Sprintf("%s is not supported on %s", r.Method, r.URL.Path), Details: &metav1.StatusDetails{},
		}
	}
	return apierrors.NewGenericServerResponse(err.Code, r.Method, schema.GroupResource{}, "", fmt.Sprint(err.Message), 0, true).Status()
}

// notAcceptable and unsupportedMedia are the two ends of content negotiation.
func notAcceptable(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: message}}
}

func unsupportedMedia(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType, Message: message}}
}

// refusedByNode is what a node said of a request that was passed on to it.
func refusedByNode(code int, message string) metav1.Status {
	return metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReasonNotFound, Message: message}
}
