package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const retrySeconds = 1 // what a client is told to wait after a timeout

// errClosed is what everything answers once the store is closed.
var errClosed = apierrors.NewServiceUnavailable("the store is closed")

// errNotStarted is what everything answers before the cache is filled.
var errNotStarted = apierrors.NewServiceUnavailable("the store is not started")

// errTooLarge tells that a revision was asked for which has not come; clients know its cause and list anew.
func errTooLarge(wanted, now int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", wanted, now), retrySeconds)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type:    metav1.CauseTypeResourceVersionTooLarge,
		Message: "Too large resource version",
	}}
	return err
}

// errExpired tells that a revision's state is gone; cont, where there is one, lets a client go on without
// consistency.
func errExpired(revision int64, cont string) error {
	err := apierrors.NewResourceExpired(fmt.Sprintf("the state at resource version %d is no longer kept", revision))
	err.ErrStatus.ListMeta.Continue = cont
	return err
}

func errBroken(r *Resource, key string, b error) error {
	return apierrors.NewInternalError(fmt.Errorf("%s %q is stored in a form that cannot be read: %w", r.GVR.GroupResource(), key, b))
}

// translate makes an API error of one of etcd's. doing says what was tried, as in "create pods".
func translate(doing string, err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil || errors.As(err, &status):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTimeout), errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail),
		errors.Is(err, rpctypes.ErrTimeoutDueToConnectionLost), errors.Is(err, rpctypes.ErrNoLeader),
		errors.Is(err, rpctypes.ErrLeaderChanged):
		return apierrors.NewTimeoutError(fmt.Sprintf("%s: %v", doing, err), retrySeconds)
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return apierrors.NewTooManyRequests(fmt.Sprintf("%s: %v", doing, err), retrySeconds)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("%s: %v", doing, err))
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: metav1.StatusReasonInternalError,
			Message: doing + ": etcd has no space left: delete objects or raise its quota",
		}}
	}
	switch grpcCode(err) {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return apierrors.NewTimeoutError(fmt.Sprintf("%s: %v", doing, err), retrySeconds)
	case codes.Unavailable:
		return apierrors.NewServiceUnavailable(fmt.Sprintf("%s: %v", doing, err))
	}
	return apierrors.NewInternalError(fmt.Errorf("%s: %w", doing, err))
}

func grpcCode(err error) codes.Code {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code()
	}
	return status.Code(err)
}
