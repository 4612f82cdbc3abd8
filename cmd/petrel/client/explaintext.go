package client

import (
	"fmt"
	"strings"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// names of the ways to serve, for people.
var abiNames = map[string]string{
	string(module.ABIReactor):  "an HTTP guest of Petrel's SDK",
	string(module.ABIHTTPWasm): "an HTTP guest of http-wasm",
	string(module.ABIWAGI):     "a WAGI program",
	string(module.ABISockets):  "a server on sockets of its own",
	string(module.ABICommand):  "a command",
}

// sheet writes lines of a name and a value.
type sheet struct{ strings.Builder }

func (s *sheet) line(name, format string, args ...any) {
	fmt.Fprintf(s, "%-11s%s\n", name, fmt.Sprintf(format, args...))
}

// Text is the explanation for people.
func (e *explanation) Text() string {
	var s sheet
	s.line("module", "%s, %s", e.File, api.Bytes(e.Size))
	s.line("digest", "%s", e.Digest)
	if len(e.Made) > 0 {
		s.line("made by", "%s", strings.Join(e.Made, ", "))
	}
	if e.ABI != "" {
		s.line("served as", "%s: %s (%s)", e.ABI, abiNames[e.ABI], e.Reason)
		s.line("instances", "%s", e.Instance)
		if e.Snapshot.Possible {
			s.line("snapshot", "yes")
		} else {
			s.line("snapshot", "no: %s (%s)", e.Snapshot.Detail, e.Snapshot.Reason)
		}
	}
	most := ""
	if e.Memory.Most > 0 {
		most = fmt.Sprintf(", at most %s by its own word", api.Bytes(int64(e.Memory.Most)))
	}
	s.line("memory", "%s at the beginning%s", api.Bytes(int64(e.Memory.Initial)), most)
	names := "by name"
	if e.NamedFunctions == 0 {
		names = "by number: the module has no name section"
	}
	s.line("functions", "%d, told %s when one of them fails", e.Functions, names)
	for i, im := range e.Imports {
		title := "imports"
		if i > 0 {
			title = ""
		}
		mark := "✓"
		if len(im.Refused) > 0 {
			mark = "✗"
		}
		s.line(title, "%s %s: %s", mark, im.Module, few(im.Functions))
		for _, r := range im.Refused {
			s.line("", "  %s is refused: %s", r.Name, r.Fix)
		}
	}
	for i, l := range e.Limits {
		title := "limits"
		if i > 0 {
			title = ""
		}
		s.line(title, "%-28s %-18s %s", l.Name, l.Default, l.Set)
	}
	return s.String()
}

// few names the first of a list.
func few(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// appExplanation is what runs for an app.
type appExplanation struct {
	App    apps.App      `json:"app"`
	Active *apps.Version `json:"active,omitempty"`
}

// Text is the explanation for people.
func (e *appExplanation) Text() string {
	var s sheet
	a := &e.App
	s.line("app", "%s in %s, version %d, %s", a.App, a.Namespace, a.Version, a.URL)
	s.line("image", "%s", a.Image)
	if v := e.Active; v != nil && v.Kind != "" {
		s.line("module", "a %s, %s", v.Kind, api.Bytes(v.Size))
		s.line("digest", "%s", v.ModuleDigest)
	}
	why := "what the module imports and exports decides"
	if a.HTTP != "" && a.HTTP != module.HTTPAuto {
		why = fmt.Sprintf("the app's http is %q", a.HTTP)
	}
	if abi := e.abi(); abi == "" {
		s.line("served as", "not known here: the module is of another registry, and no pod has told (%s)", why)
	} else {
		s.line("served as", "%s: %s (%s)", abi, abiNames[string(abi)], why)
		s.line("instances", "%s", instanceOf(abi))
	}
	if a.Isolation != "" {
		s.line("isolation", "%s", a.Isolation)
	}
	if c := a.ColdStart; c != nil {
		s.line("snapshot", "%s", orWord(c.Snapshot, "not told"))
		s.line("cold start", "compile %s, snapshot %s, a copy %s (p99 %s), first request %s", micros(c.CompileMicros),
			micros(c.SnapshotMicros), micros(c.CloneP50Micros), micros(c.CloneP99Micros), micros(c.FirstRequestMicros))
	}
	s.line("egress", "%s", orWord(strings.Join(a.Egress, ", "), "none: it can connect to nothing"))
	if e.Active != nil {
		for i, im := range grouped(e.Active.Imports) {
			title := "imports"
			if i > 0 {
				title = ""
			}
			s.line(title, "%s: %s", im.Module, few(im.Functions))
		}
	}
	return s.String()
}

// abi is what the runtime told; before it has, what the module's kind and imports say.
func (e *appExplanation) abi() module.ABI {
	if c := e.App.ColdStart; c != nil && c.ABI != "" {
		return module.ABI(c.ABI)
	}
	if e.Active == nil {
		return ""
	}
	info := &module.Info{Kind: module.Kind(e.Active.Kind)}
	for _, im := range grouped(e.Active.Imports) {
		for _, name := range im.Functions {
			info.Imports = append(info.Imports, module.Import{Module: im.Module, Name: name})
		}
	}
	entry := map[module.Kind]string{module.KindCommand: module.StartExport, module.KindReactor: module.HandleExport}[info.Kind]
	if info.Kind == module.KindReactor && info.ImportsFrom(module.HTTPWasmModule) {
		entry = module.HandleRequestExport
	}
	info.Exports = []module.Export{{Name: entry, Kind: module.KindFunction}}
	abi, _, err := module.Detect(info, e.App.HTTP, true)
	if err != nil {
		return ""
	}
	return abi
}

// grouped makes of "module.function" one list a module.
func grouped(names []string) []imports {
	var out []imports
	for _, name := range names {
		from, function, _ := strings.Cut(name, ".")
		if len(out) == 0 || out[len(out)-1].Module != from {
			out = append(out, imports{Module: from})
		}
		last := &out[len(out)-1]
		last.Functions = append(last.Functions, function)
	}
	return out
}

func orWord(text, word string) string {
	if text == "" {
		return word
	}
	return text
}

// micros prints a measured time; zero means that there is none.
func micros(n int64) string {
	switch {
	case n == 0:
		return "–"
	case n < 1000:
		return fmt.Sprintf("%d µs", n)
	}
	return fmt.Sprintf("%.1f ms", float64(n)/1000)
}
