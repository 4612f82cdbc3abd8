package apps

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

// What a plan would do.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionScale  = "scale"
	actionNone   = "none"
)

// plan tells what the deploy would do, and writes nothing: neither a version nor the module.
func (s *Server) plan(ctx context.Context, d *deploy) (*Plan, *Problem) {
	app, current, err := s.standing(ctx, d)
	if err != nil {
		return nil, apiProblem(err)
	}
	template := d.change.apply(&app.Spec.AppTemplate)
	if d.change.image == "" && d.change.module != nil {
		// The module was not stored, so its image has no digest yet; the module's own tells whether it is the same.
		template.Image = app.Spec.Image
		if current == nil || current.Spec.Module == nil || current.Spec.Module.Digest != d.change.module.Digest {
			template.Image = "new"
		}
	}
	if template.Image == "" {
		return nil, invalid("no_module", "image", "the app has no module yet, and the request brings none", "send the module as the body, or name an image")
	}
	out := &Plan{
		DryRun: true, App: d.key.Name, Namespace: d.key.Namespace, URL: s.cfg.URL(d.key.Namespace, d.key.Name),
		Changes: differences(&app.Spec.AppTemplate, &template), Sandbox: sandboxOf(&template), Limits: limitsOf(&template.Limits), Timings: d.timings,
		Previous: previousOf(current), Version: max(app.Spec.Version, app.Status.LatestVersion) + 1,
	}
	if m := d.change.module; m != nil {
		out.ModuleDigest, out.Size, out.Imports = m.Digest, m.Size, m.Imports
	}
	out.Action = planAction(d, app, current, out.Changes)
	if current != nil && (out.Action == actionNone || out.Action == actionScale) {
		out.Version, out.Previous = current.Spec.Version, nil
	}
	if out.Action == actionScale {
		out.Changes = append(out.Changes, "replicas")
	}
	out.Warnings = d.warnings
	return out, nil
}

// standing is the app as it is, or as one that does not exist.
func (s *Server) standing(ctx context.Context, d *deploy) (*api.App, *api.Revision, error) {
	empty := &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: d.key.Namespace, Name: d.key.Name}}
	got, err := s.cfg.Client.Get(ctx, empty)
	if apierrors.IsNotFound(err) {
		if d.change.module == nil && d.change.image == "" {
			return nil, nil, notFound(d.key)
		}
		return empty, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read app: %w", err)
	}
	app := got.(*api.App)
	api.SetAppDefaults(app)
	current, err := s.serving(ctx, app)
	return app, current, err
}

func planAction(d *deploy, app *api.App, current *api.Revision, changes []string) string {
	switch {
	case app.UID == "":
		return actionCreate
	case current == nil || len(changes) > 0:
		return actionUpdate
	case d.change.replicas != nil && *d.change.replicas != *app.Spec.Replicas:
		return actionScale
	}
	return actionNone
}
