package module

import (
	"slices"
	"strings"
)

// wellKnown says which toolchain imports from a module that is not served, and how to get a module that is.
var wellKnown = []struct {
	prefix string // of the module's name
	fix    string
}{
	{"gojs", "it was built with GOOS=js, for browsers: build it with GOOS=wasip1 GOARCH=wasm"},
	{"go", "it was built with GOOS=js, for browsers: build it with GOOS=wasip1 GOARCH=wasm"},
	{"wbg", "it was built by wasm-bindgen, for browsers: build it with cargo build --target wasm32-wasip1"},
	{"__wbindgen", "it was built by wasm-bindgen, for browsers: build it with cargo build --target wasm32-wasip1"},
	{"wasi_unstable", "it was built for the draft before WASI preview 1: build it with a toolchain of 2020 or later"},
	{"wasi:", "it was built for WASI 0.2: build it for WASI preview 1 (wasm32-wasip1)"},
	{"wasi_snapshot_preview2", "it was built for WASI 0.2: build it for WASI preview 1 (wasm32-wasip1)"},
	{"wasi", "it was built for WASI threads or another proposal: build it for plain WASI preview 1, without threads"},
	{"extism", "it is an Extism plug-in: use Petrel's SDK (wasmrt/guest)"},
	{"spin", "it was built for Spin: use Petrel's SDK (wasmrt/guest)"},
	{"petrel_http_", "it was built with an SDK of another version: build it with the SDK of this Petrel"},
	{"a", "it was built by emscripten with minified names: build it with wasi-sdk (clang --target=wasm32-wasi)"},
}

// adviseImport tells how to mend an import: a name much like a served one is a typing error or another version, a module
// that a known toolchain imports from needs another target.
func adviseImport(info *Info, im Import) string {
	if names := ServedFunctions(im.Module); names != nil {
		if near := nearest(im.Name, names); len(near) > 0 {
			return "did you mean " + strings.Join(near, ", ") + "? " + im.Module + " serves " + serving(im.Module)
		}
		return im.Module + " serves " + serving(im.Module)
	}
	return adviseModule(info, im)
}

func serving(module string) string { return strings.Join(ServedFunctions(module), ", ") }

func adviseModule(info *Info, im Import) string {
	fix := ""
	switch {
	case im.Module == "env":
		fix = adviseEnv(info, im.Name)
	default:
		for _, w := range wellKnown {
			if im.Module == w.prefix || (len(w.prefix) > 2 && strings.HasPrefix(im.Module, w.prefix)) {
				fix = w.fix
				break
			}
		}
	}
	if fix == "" {
		if near := nearest(im.Module, ServedModules()); len(near) > 0 {
			fix = "did you mean " + strings.Join(near, ", ") + "?"
		} else {
			fix = "build it without that import"
		}
	}
	return fix + "; functions are served from " + strings.Join(ServedModules(), ", ")
}

// adviseEnv tells apart the toolchains that import from "env": C's linker puts there every function that no library
// defined.
func adviseEnv(info *Info, name string) string {
	switch {
	case strings.HasPrefix(name, "emscripten_"), strings.HasPrefix(name, "invoke_"), strings.HasPrefix(name, "_emscripten"),
		strings.HasPrefix(name, "__syscall"), strings.HasPrefix(name, "__cxa"), name == "_abort_js", name == "__indirect_function_table":
		return "it was built by emscripten for a browser: build it with wasi-sdk (clang --target=wasm32-wasi), or emcc -sSTANDALONE_WASM"
	case name == "abort" || name == "seed" || name == "trace":
		return "AssemblyScript imports it: build with --use abort= (and no wasi-shim module named env), or bring its wasi-shim"
	case name == "memory":
		return "it was linked with --import-memory: link it without"
	}
	if _, isGo := info.ProducedBy("Go"); isGo {
		return "a //go:wasmimport of the program names it: import only what is served"
	}
	return "the linker found no definition of it: link the library that has it, and without --allow-undefined"
}

// nearest returns up to three candidates that differ from name by few letters, nearest first.
func nearest(name string, candidates []string) []string {
	const most = 3
	type found struct {
		name string
		dist int
	}
	var near []found
	limit := max(2, len(name)/4)
	for _, c := range candidates {
		if len(name) > 2*len(c)+limit { // spares the table for names of absurd length
			continue
		}
		if d := distance(name, c); d <= limit {
			near = append(near, found{c, d})
		}
	}
	slices.SortStableFunc(near, func(a, b found) int { return a.dist - b.dist })
	var names []string
	for _, f := range near[:min(len(near), most)] {
		names = append(names, f.name)
	}
	return names
}

// distance is Levenshtein's: how many letters must be put in, taken out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func adviseEntryPoint(info *Info) string {
	if _, isGo := info.ProducedBy("Go"); isGo {
		return "an HTTP guest imports github.com/petrelrun/petrel/wasmrt/guest and calls guest.Handle from an init function; a command has a main and is built without -buildmode=c-shared"
	}
	if _, isRust := info.ProducedBy("Rust"); isRust {
		return "build a binary (src/main.rs, cargo build --target wasm32-wasip1), not a library"
	}
	return "give it a main and build it for WASI preview 1 as a program, not as a library (C: without -nostartfiles and -mexec-model=reactor)"
}
