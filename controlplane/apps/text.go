package apps

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/petrelrun/petrel/controlplane/api"
)

// steps are a deploy's timings in the order in which they happen.
var steps = []string{"upload", "validate", "store", "schedule", "compile", "first_response", "total"}

// Steps lists the timings that are there, in the order in which they happen.
func Steps(timings map[string]float64) []string {
	var out []string
	for step := range timings {
		out = append(out, step)
	}
	place := func(step string) int {
		if i := slices.Index(steps, step); i >= 0 {
			return i
		}
		return len(steps)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b)) })
	return out
}

// Text is the answer for people.
func (d *Deployed) Text() string {
	var b bytes.Buffer
	d.text(&b)
	return b.String()
}

func (d *Deployed) text(b *bytes.Buffer) {
	version := fmt.Sprintf("version %d", d.Version)
	if d.Previous != nil {
		version = fmt.Sprintf("version %d → %d", d.Previous.Version, d.Version)
	}
	state := "live"
	if !d.Ready {
		state = "accepted"
	}
	fmt.Fprintf(b, "%s %s: %s\n", d.App, state, version)
	fmt.Fprintf(b, "  url         %s\n", d.URL)
	if d.Size > 0 {
		fmt.Fprintf(b, "  module      %s, %s\n", api.Bytes(d.Size), d.ModuleDigest)
	}
	fmt.Fprintf(b, "  image       %s\n", d.Digest)
	for _, step := range Steps(d.Timings) {
		fmt.Fprintf(b, "  %-11s %s\n", strings.ReplaceAll(step, "_", " "), api.Micros(max(1, int64(d.Timings[step]*1e3))))
	}
	coldStartText(b, d.ColdStartMicros, d.ColdStart)
	for _, w := range d.Warnings {
		fmt.Fprintf(b, "  warning: %s\n", w)
	}
}

// coldStartText tells the whole and, where the runtime told them, its parts.
func coldStartText(b *bytes.Buffer, whole int64, parts *ColdStart) {
	if whole <= 0 {
		return
	}
	fmt.Fprintf(b, "  cold start  %s", api.Micros(whole))
	if c := parts; c != nil {
		for _, part := range []struct {
			name string
			us   int64
		}{
			{"snapshot", c.SnapshotMicros}, {"clone", c.CloneP50Micros}, {"clone p99", c.CloneP99Micros}, {"first request", c.FirstRequestMicros},
		} {
			if part.us > 0 {
				fmt.Fprintf(b, ", %s %s", part.name, api.Micros(part.us))
			}
		}
		if c.ABI != "" {
			fmt.Fprintf(b, " (%s)", c.ABI)
		}
	}
	b.WriteByte('\n')
}

// Text is the answer for people.
func (p *Plan) Text() string {
	var b bytes.Buffer
	p.text(&b)
	return b.String()
}

func (p *Plan) text(b *bytes.Buffer) {
	switch p.Action {
	case actionNone:
		fmt.Fprintf(b, "%s: nothing to do, version %d has it all\n", p.App, p.Version)
	case actionScale:
		fmt.Fprintf(b, "%s: would change the replicas of version %d\n", p.App, p.Version)
	default:
		fmt.Fprintf(b, "%s: would %s version %d (%s)\n", p.App, p.Action, p.Version, strings.Join(p.Changes, ", "))
	}
	if p.Size > 0 {
		fmt.Fprintf(b, "  module      %s, %s\n", api.Bytes(p.Size), p.ModuleDigest)
	}
	fmt.Fprintf(b, "  url         %s\n", p.URL)
	for _, w := range p.Warnings {
		fmt.Fprintf(b, "  warning: %s\n", w)
	}
}

func (l *AppList) text(b *bytes.Buffer) {
	spread := slices.ContainsFunc(l.Apps, func(a App) bool { return a.Namespace != l.Apps[0].Namespace })
	b.WriteString(l.Table(spread))
}

// Table is the list for people. The namespace comes behind the name, which stays what a line begins with.
func (l *AppList) Table(withNamespace bool) string {
	if len(l.Apps) == 0 {
		return ""
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	namespace := func(s string) string {
		if withNamespace {
			return s + "\t"
		}
		return ""
	}
	fmt.Fprintf(t, "NAME\t%sREADY\tSTATUS\tVERSION\tCOLD START\tURL\n", namespace("NAMESPACE"))
	for _, a := range l.Apps {
		// Pods of the version before count as ready too; the status tells whether this version serves.
		fmt.Fprintf(t, "%s\t%s%d/%d\t%s\t%d\t%s\t%s\n", a.App, namespace(a.Namespace), a.ReadyReplicas, a.Replicas,
			cmp.Or(a.Reason, "Unknown"), a.Version, api.Micros(a.ColdStartMicros), a.URL)
	}
	t.Flush() // a bytes.Buffer takes everything
	return b.String()
}

func (a *App) text(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s: version %d, %d of %d pods ready\n", a.App, a.Version, a.ReadyReplicas, a.Replicas)
	fmt.Fprintf(b, "  url         %s\n  image       %s\n", a.URL, a.Image)
	coldStartText(b, a.ColdStartMicros, a.ColdStart)
	if !a.Ready {
		fmt.Fprintf(b, "  not ready   %s: %s\n", a.Reason, a.Message)
	}
}

func (l *VersionList) text(b *bytes.Buffer) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERSION\tACTIVE\tSIZE\tCREATED\tDIGEST")
	for _, v := range l.Versions {
		active := ""
		if v.Active {
			active = "*"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", v.Version, active, api.Bytes(v.Size), v.Created.UTC().Format(time.RFC3339), v.Digest)
	}
	t.Flush() // a bytes.Buffer takes everything
}

func (d *Deleted) text(b *bytes.Buffer) { fmt.Fprintf(b, "%s removed\n", d.App) }
