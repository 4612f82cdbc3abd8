package api

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Column is one column of a kind's table, as kubectl get prints it.
type Column struct {
	metav1.TableColumnDefinition
	// Cell is the column's value in one object's row; now is for ages. It answers nil for an object of another kind.
	Cell func(obj runtime.Object, now time.Time) any
}

// Columns are the columns of a kind of this package, and nil for any other kind.
func Columns(kind string) []Column {
	switch kind {
	case AppResource.GVK.Kind:
		return appColumns
	case RevisionResource.GVK.Kind:
		return revisionColumns
	}
	return nil
}

var appColumns = []Column{
	column("Name", "string", "name", 0, "The app's name.", func(a *App, _ time.Time) any { return a.Name }),
	column("Ready", "string", "", 0, "Pods that serve, of those wanted.", func(a *App, _ time.Time) any {
		want := DefaultReplicas
		if a.Spec.Replicas != nil {
			want = *a.Spec.Replicas
		}
		return fmt.Sprintf("%d/%d", a.Status.ReadyReplicas, want)
	}),
	column("Version", "integer", "int64", 0, "The version that serves.", func(a *App, _ time.Time) any { return a.Status.ActiveVersion }),
	column("URL", "string", "", 0, "Where the app answers.", func(a *App, _ time.Time) any { return a.Status.URL }),
	column("Cold-start", "string", "", 0, "Measured time from no instance to one that can serve.", func(a *App, _ time.Time) any {
		return Micros(a.Status.ColdStartMicros)
	}),
	column("Age", "string", "", 0, "Time since creation.", func(a *App, now time.Time) any { return age(&a.ObjectMeta, now) }),
	column("Image", "string", "", 1, "The module.", func(a *App, _ time.Time) any { return a.Spec.Image }),
}

var revisionColumns = []Column{
	column("Name", "string", "name", 0, "The revision's name.", func(r *Revision, _ time.Time) any { return r.Name }),
	column("App", "string", "", 0, "The app.", func(r *Revision, _ time.Time) any { return r.Spec.App }),
	column("Version", "integer", "int64", 0, "The version's number.", func(r *Revision, _ time.Time) any { return r.Spec.Version }),
	column("Digest", "string", "", 0, "The start of the module's digest.", func(r *Revision, _ time.Time) any { return shortDigest(r) }),
	column("Size", "string", "", 0, "The module's size.", func(r *Revision, _ time.Time) any {
		if r.Spec.Module == nil {
			return "<unknown>"
		}
		return Bytes(r.Spec.Module.Size)
	}),
	column("Age", "string", "", 0, "Time since creation.", func(r *Revision, now time.Time) any { return age(&r.ObjectMeta, now) }),
	column("Image", "string", "", 1, "The module's reference.", func(r *Revision, _ time.Time) any { return r.Spec.Image }),
}

func column[T runtime.Object](name, typ, format string, priority int32, description string, cell func(T, time.Time) any) Column {
	return Column{
		TableColumnDefinition: metav1.TableColumnDefinition{
			Name: name, Type: typ, Format: format, Priority: priority, Description: description,
		},
		Cell: func(obj runtime.Object, now time.Time) any {
			typed, ok := obj.(T)
			if !ok {
				return nil
			}
			return cell(typed, now)
		},
	}
}

// Micros prints a number of microseconds as a person reads it: "870µs", "4.2ms", "1.31s"; 0 is not known yet.
func Micros(us int64) string {
	switch {
	case us <= 0:
		return "<unknown>"
	case us < 1_000:
		return fmt.Sprintf("%dµs", us)
	case us < 1_000_000:
		return fmt.Sprintf("%.1fms", float64(us)/1e3)
	}
	return fmt.Sprintf("%.2fs", float64(us)/1e6)
}

// Bytes prints a size as a person reads it: "512 B", "1.5 KiB", "3.2 MiB".
func Bytes(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func age(m *metav1.ObjectMeta, now time.Time) string {
	if m.CreationTimestamp.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(m.CreationTimestamp.Time))
}

// shortDigestLength is what tells versions apart on a screen.
const shortDigestLength = 12

func shortDigest(r *Revision) string {
	if r.Spec.Module == nil {
		return "<unknown>"
	}
	_, hex, _ := strings.Cut(r.Spec.Module.Digest, ":")
	return hex[:min(len(hex), shortDigestLength)]
}
