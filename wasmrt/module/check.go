package module

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check reads a module and holds it against what Petrel serves. The error is an *Error.
func Check(wasm []byte, limits Limits) (*Info, error) {
	info, err := Read(wasm, limits)
	if err != nil {
		return nil, err
	}
	if err := checkImports(info); err != nil {
		return nil, err
	}
	if err := checkExportNames(info); err != nil {
		return nil, err
	}
	if err := checkEntryPoint(info); err != nil {
		return nil, err
	}
	return info, nil
}

// reservedExports is what the names begin with that the publish pipeline gives to what it exports.
const reservedExports = "\x00petrel."

func checkExportNames(info *Info) error {
	for _, e := range info.Exports {
		if strings.HasPrefix(e.Name, reservedExports) {
			return &Error{
				Code: CodeMalformed, Field: fmt.Sprintf("export %q", e.Name),
				Cause: fmt.Sprintf("the module exports %q: names that begin so are Petrel's own", e.Name),
				Fix:   "upload the module as the compiler made it, or name the export otherwise",
			}
		}
	}
	return nil
}

// checkImports names the first import that is not served, and how many more there are.
func checkImports(info *Info) error {
	var first *Error
	var more int
	for _, im := range info.Imports {
		err := CheckImport(info, im)
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		} else {
			more++
		}
	}
	if first == nil {
		return nil
	}
	if more > 0 {
		first.Cause += fmt.Sprintf(" (nor are %d more of its imports)", more)
	}
	return first
}

// CheckImport tells why an import is not served, and how to mend it; nil when it is.
func CheckImport(info *Info, im Import) *Error {
	field := fmt.Sprintf("import %s.%s", im.Module, im.Name)
	if im.Kind != KindFunction {
		return &Error{
			Code:  CodeUnresolvedImport,
			Field: field,
			Cause: fmt.Sprintf("the module imports the %s %q from %q, and only functions are served", im.Kind, im.Name, im.Module),
			Fix:   adviseModule(info, im),
		}
	}
	want, ok := ServedType(im.Module, im.Name)
	if !ok {
		return &Error{
			Code:  CodeUnresolvedImport,
			Field: field,
			Cause: fmt.Sprintf("the module imports the function %q from %q, which is not served", im.Name, im.Module),
			Fix:   adviseImport(info, im),
		}
	}
	if !want.Equal(im.Type) {
		return &Error{
			Code:  CodeImportType,
			Field: field,
			Cause: fmt.Sprintf("the module imports %s.%s as %s, and it is served as %s", im.Module, im.Name, im.Type, want),
			Fix:   "build it with headers and libraries of WASI preview 1 (wasm32), and Petrel's SDK of this version",
		}
	}
	return nil
}

// checkEntryPoint refuses what has nothing to run, and entry points of the wrong type.
func checkEntryPoint(info *Info) error {
	switch info.Kind {
	case KindReactor:
		if err := checkReactor(info); err != nil {
			return err
		}
	case KindCommand:
		if info.ImportsFrom(HTTPWasmModule) {
			return &Error{
				Code: CodeNoEntryPoint, Field: "export " + HandleRequestExport,
				Cause: fmt.Sprintf("the module imports %s but does not export %s", HTTPWasmModule, HandleRequestExport),
				Fix:   "export handle_request and handle_response, as the http-wasm handler ABI says",
			}
		}
		if info.ImportsFrom(HTTPModule) {
			return &Error{
				Code: CodeNoEntryPoint, Field: "export " + HandleExport,
				Cause: fmt.Sprintf("the module imports %s but does not export %s", HTTPModule, HandleExport),
				Fix:   "build it as a reactor (Go: -buildmode=c-shared) and let it import Petrel's guest SDK",
			}
		}
		return checkTypes(info, map[string]FuncType{StartExport: {}})
	default:
		return &Error{
			Code: CodeNoEntryPoint, Field: "exports",
			Cause: "the module is a library: it exports neither _start (a command) nor " + HandleExport + " or " + HandleRequestExport +
				" (an HTTP guest)" + exportsOf(info),
			Fix: adviseEntryPoint(info),
		}
	}
	return nil
}

func checkReactor(info *Info) error {
	if _, ok := info.Export(MemoryExport, KindMemory); !ok {
		return &Error{
			Code: CodeNoEntryPoint, Field: "export memory",
			Cause: `the module exports no memory named "memory", so requests cannot be handed to it`,
			Fix:   "export it (wasm-ld: --export-memory=memory, which is the default)",
		}
	}
	if !info.exports(HandleExport) {
		return checkHTTPWasm(info)
	}
	if info.exports(StartExport) && !info.exports(InitializeExport) {
		return &Error{
			Code: CodeNoEntryPoint, Field: "export " + InitializeExport,
			Cause: fmt.Sprintf("the module exports %s beside _start: it was built as a command, and its main would end it before a request", HandleExport),
			Fix:   "build it as a reactor: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared (C: -mexec-model=reactor)",
		}
	}
	return checkTypes(info, map[string]FuncType{InitializeExport: {}, HandleExport: {}})
}

// checkHTTPWasm asks for both halves of the ABI. _start may be there: it initialises the guests that are built as
// commands.
func checkHTTPWasm(info *Info) error {
	if !info.exports(HandleResponseExport) {
		return &Error{
			Code: CodeNoEntryPoint, Field: "export " + HandleResponseExport,
			Cause: fmt.Sprintf("the module exports %s but not %s", HandleRequestExport, HandleResponseExport),
			Fix:   "export handle_response too, as the http-wasm handler ABI says; it may do nothing",
		}
	}
	return checkTypes(info, map[string]FuncType{
		InitializeExport: {}, StartExport: {},
		HandleRequestExport:  {Results: []ValueType{I64}},
		HandleResponseExport: {Params: []ValueType{I32, I32}},
	})
}

// checkTypes holds entry points against how they are called. Missing ones pass: whether they must be there is known by
// the caller.
func checkTypes(info *Info, want map[string]FuncType) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		e, ok := info.Export(name, KindFunction)
		if !ok || e.Type.Equal(want[name]) {
			continue
		}
		return &Error{
			Code: CodeEntryPointType, Field: "export " + name,
			Cause: fmt.Sprintf("the module exports %s as %s, and it is called as %s", name, e.Type, want[name]),
			Fix:   fmt.Sprintf("export it as %s", want[name]),
		}
	}
	return nil
}

// exportsOf names a few exports, so that the reader of the message recognises the module.
func exportsOf(info *Info) string {
	const few = 5
	var names []string
	for _, e := range info.Exports {
		if e.Kind == KindFunction {
			names = append(names, e.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	rest := ""
	if len(names) > few {
		rest = fmt.Sprintf(" and %d more", len(names)-few)
		names = names[:few]
	}
	return "; it exports " + strings.Join(names, ", ") + rest
}
