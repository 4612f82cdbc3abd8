package api

import (
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateAppName tells what is wrong with an App's name, and nil where nothing is.
func ValidateAppName(name string) []string {
	msgs := validation.IsDNS1123Label(name)
	if len(name) > MaxAppNameLength {
		msgs = append(msgs, validation.MaxLenError(MaxAppNameLength))
	}
	return msgs
}

func appNameFunc(name string, prefix bool) []string {
	if prefix {
		return []string{"generateName is not supported: an app's name is its host name"}
	}
	return ValidateAppName(name)
}

// ValidateApp checks a whole App.
func ValidateApp(app *App) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&app.ObjectMeta, true, appNameFunc, field.NewPath("metadata"))
	return append(errs, ValidateAppSpec(&app.Spec, field.NewPath("spec"))...)
}

// ValidateAppUpdate checks an App that replaces another.
func ValidateAppUpdate(app, old *App) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&app.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	return append(errs, ValidateApp(app)...)
}

// ValidateAppStatusUpdate checks a write of an App's status.
func ValidateAppStatusUpdate(app, old *App) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&app.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	status := field.NewPath("status")
	s := &app.Status
	for _, count := range []struct {
		name  string
		value int64
	}{
		{"observedGeneration", s.ObservedGeneration},
		{"latestVersion", s.LatestVersion},
		{"activeVersion", s.ActiveVersion},
		{"replicas", int64(s.Replicas)},
		{"updatedReplicas", int64(s.UpdatedReplicas)},
		{"readyReplicas", int64(s.ReadyReplicas)},
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(count.value, status.Child(count.name))...)
	}
	return errs
}

// ValidateAppSpec checks a spec; path is where it stands.
func ValidateAppSpec(spec *AppSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Replicas != nil {
		errs = append(errs, between(int64(*spec.Replicas), 0, MaxReplicas, path.Child("replicas"))...)
	}
	errs = append(errs, apivalidation.ValidateNonnegativeField(spec.Version, path.Child("version"))...)
	return append(errs, ValidateAppTemplate(&spec.AppTemplate, path)...)
}

// ValidateAppTemplate checks code and configuration; path is where they stand.
func ValidateAppTemplate(t *AppTemplate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Image != "" {
		if _, err := ParseImage(t.Image); err != nil {
			errs = append(errs, field.Invalid(path.Child("image"), t.Image, err.Error()))
		}
	}
	errs = append(errs, validateEnv(t, path)...)
	if len(t.Args) > MaxArgs {
		errs = append(errs, field.TooMany(path.Child("args"), len(t.Args), MaxArgs))
	}
	if n := configBytes(t); n > MaxConfigBytes {
		errs = append(errs, field.Invalid(path, fmt.Sprintf("%d bytes", n),
			fmt.Sprintf("env and args together must be at most %d bytes", MaxConfigBytes)))
	}
	errs = append(errs, validateSandbox(t, path)...)
	return append(errs, validateLimits(&t.Limits, path.Child("limits"))...)
}

// validateSandbox checks how the guest runs and what it may reach. What a grant means is the runtime's to say.
func validateSandbox(t *AppTemplate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Isolation != "" && !slices.Contains(Isolations(), t.Isolation) {
		errs = append(errs, field.NotSupported(path.Child("isolation"), t.Isolation, Isolations()))
	}
	if t.HTTP != "" && !slices.Contains(HTTPModes(), t.HTTP) {
		errs = append(errs, field.NotSupported(path.Child("http"), t.HTTP, HTTPModes()))
	}
	if len(t.Egress) > MaxEgress {
		return append(errs, field.TooMany(path.Child("egress"), len(t.Egress), MaxEgress))
	}
	for i, grant := range t.Egress {
		if len(grant) > MaxEgressLength || !grantPattern.MatchString(grant) {
			errs = append(errs, field.Invalid(path.Child("egress").Index(i), grant,
				`must be a grant such as "tcp:db.example.com:5432", "https:*.example.com", "dns" or "*"`))
		}
	}
	return errs
}

// grantPattern holds grants to one word: they travel with commas between.
var grantPattern = regexp.MustCompile(`^[!-+\--~]+$`)

func validateEnv(t *AppTemplate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(t.Env) > MaxEnv {
		return append(errs, field.TooMany(path.Child("env"), len(t.Env), MaxEnv))
	}
	seen := make(map[string]bool, len(t.Env))
	for i, e := range t.Env {
		name := path.Child("env").Index(i).Child("name")
		for _, msg := range validation.IsRelaxedEnvVarName(e.Name) {
			errs = append(errs, field.Invalid(name, e.Name, msg))
		}
		if seen[e.Name] {
			errs = append(errs, field.Duplicate(name, e.Name))
		}
		seen[e.Name] = true
		if e.ValueFrom != nil && e.Value != "" {
			errs = append(errs, field.Invalid(path.Child("env").Index(i).Child("valueFrom"), "", "may not be set together with value"))
		}
	}
	return errs
}

// ValidateRevision checks a whole Revision.
func ValidateRevision(r *Revision) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&r.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	spec := field.NewPath("spec")
	for _, msg := range ValidateAppName(r.Spec.App) {
		errs = append(errs, field.Invalid(spec.Child("app"), r.Spec.App, msg))
	}
	if r.Spec.Version < 1 {
		errs = append(errs, field.Invalid(spec.Child("version"), r.Spec.Version, "must be at least 1"))
	}
	if want := RevisionName(r.Spec.App, r.Spec.Version); r.Name != want {
		// The name is what makes a version's number unique, so it has to be the version's.
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), r.Name, "must be "+want))
	}
	if r.Spec.Image == "" {
		errs = append(errs, field.Required(spec.Child("image"), "a revision names its module"))
	}
	if m := r.Spec.Module; m != nil && !digestPattern.MatchString(m.Digest) {
		errs = append(errs, field.Invalid(spec.Child("module", "digest"), m.Digest, "must be sha256: and 64 hexadecimal digits"))
	}
	return append(errs, ValidateAppTemplate(&r.Spec.AppTemplate, spec)...)
}

// ValidateRevisionUpdate checks a Revision that replaces another: only its metadata may change.
func ValidateRevisionUpdate(r, old *Revision) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&r.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	if !equality.Semantic.DeepEqual(r.Spec, old.Spec) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "a revision is a record and cannot be changed; deploy a new version"))
	}
	return errs
}

func between(n, low, high int64, path *field.Path) field.ErrorList {
	if n < low || n > high {
		return field.ErrorList{field.Invalid(path, n, fmt.Sprintf("must be between %d and %d", low, high))}
	}
	return nil
}

func configBytes(t *AppTemplate) int {
	n := 0
	for _, e := range t.Env {
		n += len(e.Name) + len(e.Value) + 2
	}
	for _, a := range t.Args {
		n += len(a) + 1
	}
	return n
}
