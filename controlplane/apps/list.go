package apps

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// allNamespaces in ?namespace= lists every namespace's apps.
const allNamespaces = "*"

func (s *Server) listApps(w http.ResponseWriter, r *http.Request) {
	var namespace string
	if r.URL.Query().Get("namespace") != allNamespaces {
		key, p := namespaceOf(r)
		if p != nil {
			p.write(w, r)
			return
		}
		namespace = key.Namespace
	}
	out := AppList{Apps: []App{}}
	for _, obj := range s.apps.List() {
		if app, ok := obj.(*api.App); ok && (namespace == "" || app.Namespace == namespace) {
			out.Apps = append(out.Apps, s.view(app))
		}
	}
	slices.SortFunc(out.Apps, func(a, b App) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.App, b.App))
	})
	respond(w, r, http.StatusOK, &out)
}

func (s *Server) getApp(w http.ResponseWriter, r *http.Request) {
	app, p := s.find(r)
	if p != nil {
		p.write(w, r)
		return
	}
	out := s.view(app)
	respond(w, r, http.StatusOK, &out)
}

// find reads the app that the request names, afresh.
func (s *Server) find(r *http.Request) (*api.App, *Problem) {
	key, p := appKey(r)
	if p != nil {
		return nil, p
	}
	got, err := s.cfg.Client.Get(r.Context(), &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
	if apierrors.IsNotFound(err) {
		return nil, notFound(key)
	}
	if err != nil {
		return nil, apiProblem(fmt.Errorf("read app: %w", err))
	}
	return got.(*api.App), nil
}

func (s *Server) view(app *api.App) App {
	app = app.DeepCopy()
	api.SetAppDefaults(app)
	img, _ := api.ParseImage(app.Spec.Image) // empty for an app without a module
	out := App{
		App: app.Name, Namespace: app.Namespace, Version: app.Status.ActiveVersion, LatestVersion: app.Status.LatestVersion,
		URL: s.cfg.URL(app.Namespace, app.Name), Replicas: *app.Spec.Replicas, ReadyReplicas: app.Status.ReadyReplicas,
		Image: app.Spec.Image, Digest: img.Digest, Args: app.Spec.Args, Sandbox: sandboxOf(&app.Spec.AppTemplate), Limits: limitsOf(&app.Spec.Limits),
		ColdStartMicros: app.Status.ColdStartMicros, CompileMicros: app.Status.CompileMicros, ColdStart: coldStartOf(app.Status.ColdStart), Created: app.CreationTimestamp.Time,
	}
	for _, e := range app.Spec.Env {
		if out.Env == nil {
			out.Env = map[string]string{}
		}
		out.Env[e.Name] = e.Value
	}
	if ready := meta.FindStatusCondition(app.Status.Conditions, api.AppReady); ready != nil {
		out.Ready = ready.Status == metav1.ConditionTrue && ready.ObservedGeneration >= app.Generation
		out.Reason, out.Message = ready.Reason, ready.Message
	}
	return out
}

func (s *Server) listVersions(w http.ResponseWriter, r *http.Request) {
	app, p := s.find(r)
	if p != nil {
		p.write(w, r)
		return
	}
	out := VersionList{App: app.Name, Namespace: app.Namespace, Versions: []Version{}}
	for _, rev := range ofApp[*api.Revision](s.revisions, types.NamespacedName{Namespace: app.Namespace, Name: app.Name}) {
		if !api.IsOwnedBy(rev, app) {
			continue
		}
		img, _ := api.ParseImage(rev.Spec.Image) // a stored Revision's image is well formed
		v := Version{
			Version: rev.Spec.Version, Active: rev.Spec.Version == app.Status.ActiveVersion, Image: rev.Spec.Image,
			Digest: img.Digest, Sandbox: sandboxOf(&rev.Spec.AppTemplate), Limits: limitsOf(&rev.Spec.Limits), Created: rev.CreationTimestamp.Time,
		}
		if m := rev.Spec.Module; m != nil {
			v.ModuleDigest, v.Size, v.Kind, v.Imports = m.Digest, m.Size, m.Kind, m.Imports
		}
		out.Versions = append(out.Versions, v)
	}
	slices.SortFunc(out.Versions, func(a, b Version) int { return cmp.Compare(b.Version, a.Version) })
	respond(w, r, http.StatusOK, &out)
}

// deleteApp removes the App. What it owns goes with it, in the background.
func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) {
	key, p := appKey(r)
	if p != nil {
		p.write(w, r)
		return
	}
	background := metav1.DeletePropagationBackground
	err := s.cfg.Client.Delete(r.Context(), &api.App{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}},
		metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		notFound(key).write(w, r)
		return
	}
	if err != nil {
		apiProblem(fmt.Errorf("remove app: %w", err)).write(w, r)
		return
	}
	respond(w, r, http.StatusOK, &Deleted{App: key.Name, Namespace: key.Namespace, Deleted: true})
}
