package apps

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// outcome is what a deploy wrote.
type outcome struct {
	app      *api.App
	revision *api.Revision
	made     bool // the revision is new
	// superseded: another deploy made a higher version before this one came to the App.
	superseded bool
	previous   *Previous
	written    time.Time // when the App was
}

// revise brings the change into a Revision and the App. It is safe against others who do the same at once: the
// Revision's name makes its number unique, the App's resourceVersion orders the writes.
func (s *Server) revise(ctx context.Context, d *deploy) (*outcome, error) {
	o := &outcome{}
	for try := range maxConflicts {
		done, err := s.tryRevise(ctx, d, o)
		if err == nil && done {
			return o, nil
		}
		if err != nil && !retriable(err) {
			return nil, err
		}
		if err := pause(ctx, try); err != nil {
			return nil, err
		}
	}
	return nil, apierrors.NewConflict(api.AppResource.GVR.GroupResource(), d.key.Name,
		fmt.Errorf("others wrote the app at the same time, %d times over", maxConflicts))
}

func retriable(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err)
}

// pause waits a random while, so that those who met once do not meet again.
func pause(ctx context.Context, try int) error {
	longest := conflictPause * time.Duration(try+1)
	timer := time.NewTimer(rand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryRevise takes one round. What an earlier round made stays in o.
func (s *Server) tryRevise(ctx context.Context, d *deploy, o *outcome) (bool, error) {
	app, err := s.getOrCreate(ctx, d)
	if err != nil {
		return false, err
	}
	current, err := s.serving(ctx, app)
	if err != nil {
		return false, err
	}
	template := d.change.apply(&app.Spec.AppTemplate)
	if template.Image == "" {
		return false, invalid("no_module", "image", "the app has no module yet, and the request brings none",
			"send the module as the body, or name an image")
	}
	if o.revision != nil {
		if app.Spec.Version > o.revision.Spec.Version && api.IsOwnedBy(o.revision, app) {
			o.app, o.superseded = app, true
			return true, nil
		}
		if !o.revision.Stands(&template) || !api.IsOwnedBy(o.revision, app) {
			s.discard(ctx, o)
		}
	}
	if o.revision == nil {
		if current != nil && current.Stands(&template) {
			o.revision = current
		} else {
			if o.revision, err = s.newRevision(ctx, d, app, template); err != nil {
				return false, err
			}
			o.made, o.previous = true, previousOf(current)
		}
	}
	return s.point(ctx, d, o, app, template)
}

// point makes the App name the revision. Where it does already, nothing is written.
func (s *Server) point(ctx context.Context, d *deploy, o *outcome, app *api.App, template api.AppTemplate) (bool, error) {
	next := app.DeepCopy()
	next.Spec.AppTemplate = template
	if o.made {
		next.Spec.Version = o.revision.Spec.Version
	}
	if d.change.replicas != nil {
		next.Spec.Replicas = d.change.replicas
	}
	updated, err := s.cfg.Client.Update(ctx, next)
	if err != nil {
		return false, fmt.Errorf("write app: %w", err)
	}
	o.app, o.written = updated.(*api.App), d.now()
	api.SetAppDefaults(o.app)
	return true, nil
}

// getOrCreate answers the App as it stands, made empty where there was none: a Revision needs an owner.
func (s *Server) getOrCreate(ctx context.Context, d *deploy) (*api.App, error) {
	empty := &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: d.key.Namespace, Name: d.key.Name}}
	got, err := s.cfg.Client.Get(ctx, empty)
	if apierrors.IsNotFound(err) {
		if d.change.image == "" {
			return nil, notFound(d.key)
		}
		empty.Spec.Replicas = d.change.replicas
		api.SetAppDefaults(empty)
		got, err = s.cfg.Client.Create(ctx, empty)
	}
	if err != nil {
		return nil, fmt.Errorf("read app: %w", err)
	}
	app := got.(*api.App)
	if app.DeletionTimestamp != nil {
		return nil, apierrors.NewConflict(api.AppResource.GVR.GroupResource(), app.Name, errGone)
	}
	api.SetAppDefaults(app)
	return app, nil
}

// serving is the Revision that stands for the App as it is now, and nil where none does.
func (s *Server) serving(ctx context.Context, app *api.App) (*api.Revision, error) {
	for _, version := range []int64{app.Spec.Version, app.Status.ActiveVersion} {
		if version == 0 {
			continue
		}
		r, err := s.getRevision(ctx, app, version)
		if err != nil {
			return nil, err
		}
		if r != nil && r.Stands(&app.Spec.AppTemplate) {
			return r, nil
		}
	}
	return nil, nil
}

// getRevision reads an App's version: nil when there is none.
func (s *Server) getRevision(ctx context.Context, app *api.App, version int64) (*api.Revision, error) {
	got, err := s.cfg.Client.Get(ctx, namedRevision(app, version))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read version %d: %w", version, err)
	}
	if !api.IsOwnedBy(got, app) {
		return nil, nil
	}
	return got.(*api.Revision), nil
}

func namedRevision(app *api.App, version int64) *api.Revision {
	return &api.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: app.Namespace, Name: api.RevisionName(app.Name, version)}}
}

// newRevision writes the next version. Numbers that others take meanwhile are passed over.
func (s *Server) newRevision(ctx context.Context, d *deploy, app *api.App, template api.AppTemplate) (*api.Revision, error) {
	version := max(app.Spec.Version, app.Status.LatestVersion)
	for _, r := range ofApp[*api.Revision](s.revisions, d.key) {
		if api.IsOwnedBy(r, app) {
			version = max(version, r.Spec.Version)
		}
	}
	version++
	for range maxVersionTries {
		r := api.NewRevision(app, version, template)
		r.Spec.Module = d.change.module
		if r.Spec.Module == nil { // configuration alone: the module is the one that serves
			if served, err := s.serving(ctx, app); err == nil && served != nil && served.Spec.Image == template.Image {
				r.Spec.Module = served.Spec.Module.DeepCopy()
			}
		}
		created, err := s.cfg.Client.Create(ctx, r)
		if err == nil {
			return created.(*api.Revision), nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("write version %d: %w", version, err)
		}
		if err := s.makeWay(ctx, app, &version); err != nil {
			return nil, err
		}
	}
	return nil, apierrors.NewConflict(api.RevisionResource.GVR.GroupResource(), app.Name,
		fmt.Errorf("others took %d versions at the same time", maxVersionTries))
}

// makeWay goes on to the next number, or removes what an earlier App of the same name left at this one.
func (s *Server) makeWay(ctx context.Context, app *api.App, version *int64) error {
	got, err := s.cfg.Client.Get(ctx, namedRevision(app, *version))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read version %d: %w", *version, err)
	}
	if api.IsOwnedBy(got, app) {
		*version++
		return nil
	}
	if err := s.remove(ctx, got); err != nil {
		return fmt.Errorf("remove a former app's version %d: %w", *version, err)
	}
	return nil
}

// discard takes back a Revision that the App never named. It is only tidiness: an unnamed Revision does nothing.
func (s *Server) discard(ctx context.Context, o *outcome) {
	if o.made {
		if err := s.remove(ctx, o.revision); err != nil {
			s.cfg.Logger.Warn("discard version", "revision", o.revision.Name, "error", err)
		}
	}
	o.revision, o.made = nil, false
}

func (s *Server) remove(ctx context.Context, obj api.Object) error {
	uid := obj.GetUID()
	err := s.cfg.Client.Delete(ctx, obj, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func previousOf(r *api.Revision) *Previous {
	if r == nil {
		return nil
	}
	img, _ := api.ParseImage(r.Spec.Image) // a stored Revision's image is well formed
	return &Previous{Version: r.Spec.Version, Digest: img.Digest}
}

func notFound(key types.NamespacedName) *Problem {
	return problem(404, "not_found", "There is no such app", "app", fmt.Sprintf("the namespace %s has no app %s", key.Namespace, key.Name),
		"list the apps with GET /v1/apps?namespace="+key.Namespace+" or `petrel ls`")
}
