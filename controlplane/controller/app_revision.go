package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// errImage is for an App whose image cannot become a version.
var errImage = errors.New("resolve image")

// revisionsOf lists an App's Revisions, the newest first.
func (c *AppController) revisionsOf(app *api.App) []*api.Revision {
	revisions := byIndex[*api.Revision](c.revisions, indexController, string(app.UID))
	slices.SortFunc(revisions, func(a, b *api.Revision) int { return cmp.Compare(b.Spec.Version, a.Spec.Version) })
	return revisions
}

// activeRevision is the version that should serve: the one that the spec names while it still stands for the
// template, else the newest that does, else a new one. Nil: nothing has been deployed yet.
func (c *AppController) activeRevision(ctx context.Context, app *api.App, revisions []*api.Revision) (*api.Revision, error) {
	if app.Spec.Image == "" {
		return nil, nil
	}
	if v := app.Spec.Version; v > 0 {
		named, err := c.namedRevision(ctx, app, v, revisions)
		if err != nil || named != nil && named.Stands(&app.Spec.AppTemplate) {
			return named, err
		}
	}
	for _, r := range revisions {
		if r.Stands(&app.Spec.AppTemplate) {
			return r, nil
		}
	}
	if r, err := c.unseenRevision(ctx, app, revisions); err != nil || r != nil {
		return r, err
	}
	return c.stamp(ctx, app, revisions)
}

// unseenRevision looks among the versions that were made and that the cache does not have yet: one that this very
// controller stamped a moment ago must not be stamped again.
func (c *AppController) unseenRevision(ctx context.Context, app *api.App, revisions []*api.Revision) (*api.Revision, error) {
	var newestSeen int64
	if len(revisions) > 0 {
		newestSeen = revisions[0].Spec.Version
	}
	latest := c.latestVersion(app, revisions)
	for v := latest; v > max(newestSeen, latest-api.RevisionHistoryLimit); v-- {
		r, err := c.freshRevision(ctx, app, v)
		if err != nil || r != nil && r.Stands(&app.Spec.AppTemplate) {
			return r, err
		}
	}
	return nil, nil
}

// namedRevision finds a version. Who deploys writes the Revision first and then the App, but the two come through
// different caches, so what the cache lacks is read afresh.
func (c *AppController) namedRevision(ctx context.Context, app *api.App, version int64, revisions []*api.Revision) (*api.Revision, error) {
	for _, r := range revisions {
		if r.Spec.Version == version {
			return r, nil
		}
	}
	return c.freshRevision(ctx, app, version)
}

// freshRevision reads a version from the store: nil when there is none, or when it is not this App's.
func (c *AppController) freshRevision(ctx context.Context, app *api.App, version int64) (*api.Revision, error) {
	got, err := c.env.Client.Get(ctx, emptyRevision(app, version))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read version %d: %w", version, err)
	}
	r, ok := got.(*api.Revision)
	if !ok || !api.IsOwnedBy(r, app) {
		return nil, nil
	}
	return r, nil
}

func emptyRevision(app *api.App, version int64) *api.Revision {
	return &api.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: api.RevisionName(app.Name, version)}}
}

// stamp makes a new version of the template. The name is the version's, so of two that make the same version at once
// one is refused and looks again.
func (c *AppController) stamp(ctx context.Context, app *api.App, revisions []*api.Revision) (*api.Revision, error) {
	r := api.NewRevision(app, c.latestVersion(app, revisions)+1, app.Spec.AppTemplate)
	if c.config.Resolve != nil {
		image, module, err := c.config.Resolve(ctx, app.Namespace, app.Spec.Image)
		if err != nil {
			c.env.warn(app, "ImageNotResolved", "%v", err)
			return nil, fmt.Errorf("%w: %w", errImage, err)
		}
		if image != r.Spec.Image {
			r.Spec.Source, r.Spec.Image = r.Spec.Image, image
		}
		r.Spec.Module = module
	}
	if err := c.alive(ctx, app); err != nil {
		return nil, err
	}
	created, err := c.env.Client.Create(ctx, r)
	if apierrors.IsAlreadyExists(err) {
		return c.taken(ctx, app, r)
	}
	if err != nil {
		return nil, fmt.Errorf("make version %d: %w", r.Spec.Version, err)
	}
	c.env.event(app, "VersionMade", "made version %d of %s", r.Spec.Version, r.Spec.Image)
	return created.(*api.Revision), nil
}

// taken handles a version whose name is in use: by this App, which the cache will tell, or by what an earlier App of
// the same name left, which has to go.
func (c *AppController) taken(ctx context.Context, app *api.App, want *api.Revision) (*api.Revision, error) {
	got, err := c.freshRevision(ctx, app, want.Spec.Version)
	if err != nil {
		return nil, err
	}
	if got != nil {
		if got.Stands(&app.Spec.AppTemplate) {
			return got, nil
		}
		return nil, apierrors.NewConflict(api.RevisionResource.GVR.GroupResource(), want.Name,
			fmt.Errorf("version %d was made meanwhile", want.Spec.Version))
	}
	if err := c.env.Client.Delete(ctx, named(want), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("remove a former app's version: %w", err)
	}
	return nil, apierrors.NewConflict(api.RevisionResource.GVR.GroupResource(), want.Name,
		fmt.Errorf("a former app's version %d was in the way", want.Spec.Version))
}

// latestVersion is the highest number that was ever given, as far as anyone remembers.
func (c *AppController) latestVersion(app *api.App, revisions []*api.Revision) int64 {
	latest := max(app.Status.LatestVersion, app.Spec.Version)
	if len(revisions) > 0 {
		latest = max(latest, revisions[0].Spec.Version)
	}
	return latest
}

// prune removes the oldest Revisions beyond the limit, never the active one nor any that is newer than it: such a one
// may belong to a deploy that has not come to the App yet.
func (c *AppController) prune(ctx context.Context, seen appSeen) error {
	for i, r := range seen.revisions {
		if i < api.RevisionHistoryLimit || r.Spec.Version >= seen.active.Spec.Version || r.DeletionTimestamp != nil {
			continue
		}
		uid := r.UID
		err := c.env.Client.Delete(ctx, named(r), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove version %d: %w", r.Spec.Version, err)
		}
	}
	return nil
}
