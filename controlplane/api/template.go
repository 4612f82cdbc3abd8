package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// ConfigHash is a digest over what makes a version besides its code: environment, arguments, limits.
func (t *AppTemplate) ConfigHash() string {
	config := *t
	config.Image = ""
	// Env, args and limits are plain data whose encoding is canonical: struct fields in order, quantities as
	// Kubernetes prints them. Marshalling them cannot fail.
	raw, err := json.Marshal(config)
	if err != nil {
		panic(fmt.Sprintf("encode app template: %v", err))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Stands tells whether the Revision is a version of just this template.
func (r *Revision) Stands(t *AppTemplate) bool {
	named := r.Spec.Image
	if r.Spec.Source != "" {
		named = r.Spec.Source
	}
	return (t.Image == r.Spec.Image || t.Image == named) && t.ConfigHash() == r.Spec.ConfigHash
}

// NewRevision makes the record of an App's version. The App has to be a stored one: the Revision is owned by its UID.
func NewRevision(app *App, version int64, t AppTemplate) *Revision {
	r := &Revision{Spec: RevisionSpec{App: app.Name, Version: version, ConfigHash: t.ConfigHash()}}
	t.DeepCopyInto(&r.Spec.AppTemplate)
	r.Name, r.Namespace = RevisionName(app.Name, version), app.Namespace
	r.Labels = map[string]string{LabelApp: app.Name, LabelVersion: fmt.Sprint(version)}
	r.OwnerReferences = append(r.OwnerReferences, OwnedBy(app))
	return r
}
