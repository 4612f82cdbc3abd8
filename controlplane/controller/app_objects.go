package controller

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/petrelrun/petrel/controlplane/api"
)

// errNameTaken is for an object that has the App's name and is not the App's.
var errNameTaken = errors.New("belongs to someone else")

// errAppGone is for an App that the cache still has and the store has not.
var errAppGone = errors.New("the app is gone")

// alive makes sure that the App is still there before anything is made for it: when an App goes, what it owned goes
// too, and a cache that tells of the second before the first must not have it made anew.
func (c *AppController) alive(ctx context.Context, app *api.App) error {
	got, err := c.env.Client.Get(ctx, named(app))
	if apierrors.IsNotFound(err) || err == nil && (got.GetUID() != app.UID || got.GetDeletionTimestamp() != nil) {
		return errAppGone
	}
	if err != nil {
		return fmt.Errorf("read app: %w", err)
	}
	return nil
}

// appSeen is what one step found out about an App.
type appSeen struct {
	revisions  []*api.Revision
	active     *api.Revision
	deployment *appsv1.Deployment
	refused    error // why the Deployment or the Service cannot be as the App wants it
	retry      error // what to come back for
}

// ensureObjects brings Deployment and Service to what the App wants. An App that cannot have them says so in its
// status; other errors are tried again.
func (c *AppController) ensureObjects(ctx context.Context, app *api.App, seen *appSeen) {
	d, err := ensureAppObject(ctx, c, c.deployments, app, &appsv1.Deployment{}, func(d *appsv1.Deployment) { setAppDeployment(d, app, seen.active) })
	seen.deployment = d
	if err == nil {
		_, err = ensureAppObject(ctx, c, c.services, app, &corev1.Service{}, func(s *corev1.Service) { setAppService(s, app) })
	}
	switch {
	case err == nil:
	case errors.Is(err, errNameTaken), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		c.env.warn(app, "Refused", "%v", err)
		seen.refused, seen.retry = err, err
	default:
		seen.retry = err
	}
}

// ensureAppObject creates or updates the object of the App's name so that set finds nothing to change. What set does
// not touch (defaults, what others wrote) stays.
func ensureAppObject[T interface {
	api.Object
	DeepCopy() T
}](ctx context.Context, c *AppController, indexer cache.Indexer, app *api.App, fresh T, set func(T)) (T, error) {
	var none T
	existing, ok := lookup[T](indexer, keyOf(app))
	if !ok {
		if err := c.alive(ctx, app); err != nil {
			return none, err
		}
		fresh.SetNamespace(app.Namespace)
		fresh.SetName(app.Name)
		set(fresh)
		fresh.SetOwnerReferences([]metav1.OwnerReference{api.OwnedBy(app)})
		created, err := c.env.Client.Create(ctx, fresh)
		if err != nil {
			return none, fmt.Errorf("create %T: %w", fresh, err)
		}
		return created.(T), nil
	}
	if !api.IsOwnedBy(existing, app) {
		return none, fmt.Errorf("%T %s/%s %w", existing, app.Namespace, app.Name, errNameTaken)
	}
	want := existing.DeepCopy()
	set(want)
	if existing.GetDeletionTimestamp() != nil || equality.Semantic.DeepEqual(existing, want) {
		return existing, nil
	}
	updated, err := c.env.Client.Update(ctx, want)
	if err != nil {
		return existing, fmt.Errorf("update %T: %w", want, err)
	}
	return updated.(T), nil
}
