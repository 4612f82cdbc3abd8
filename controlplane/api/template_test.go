package api

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func TestRevisionStands(t *testing.T) {
	app := validApp()
	app.UID = "u1"
	r := NewRevision(app, 1, app.Spec.AppTemplate)
	if !r.Stands(&app.Spec.AppTemplate) {
		t.Fatal("a revision made of a template does not stand for it")
	}
	for name, change := range map[string]func(*AppTemplate){
		"image":  func(t *AppTemplate) { t.Image = "other" },
		"env":    func(t *AppTemplate) { t.Env[0].Value = "x" },
		"args":   func(t *AppTemplate) { t.Args = nil },
		"memory": func(t *AppTemplate) { t.Limits.Memory = ptr.To(resource.MustParse("65Mi")) },
	} {
		other := app.Spec.AppTemplate.DeepCopy()
		change(other)
		if r.Stands(other) {
			t.Errorf("still stands after a change of %s", name)
		}
	}
	// Replicas make no version.
	app.Spec.Replicas = ptr.To[int32](9)
	if !r.Stands(&app.Spec.AppTemplate) {
		t.Error("scaling made a new version")
	}
}

func TestRevisionStandsForItsSource(t *testing.T) {
	app := validApp()
	byDigest := app.Spec.Image
	app.Spec.Image = "default/hello:v1"
	r := NewRevision(app, 1, app.Spec.AppTemplate)
	r.Spec.Source, r.Spec.Image = app.Spec.Image, byDigest
	if !r.Stands(&app.Spec.AppTemplate) {
		t.Error("does not stand for the tag it was resolved from")
	}
	app.Spec.Image = byDigest
	if !r.Stands(&app.Spec.AppTemplate) {
		t.Error("does not stand for its own digest")
	}
}

func TestOwnership(t *testing.T) {
	app := validApp()
	app.UID = "u1"
	r := NewRevision(app, 1, app.Spec.AppTemplate)
	if !IsOwnedBy(r, app) {
		t.Fatal("a new revision is not its app's")
	}
	anew := app.DeepCopy()
	anew.UID = "u2"
	if IsOwnedBy(r, anew) {
		t.Fatal("an app made anew owns what the first one left")
	}
}
