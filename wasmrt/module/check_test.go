package module_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func refusal(t *testing.T, wasm []byte, limits module.Limits) *module.Error {
	t.Helper()
	info, err := module.Check(wasm, limits)
	if err == nil {
		t.Fatalf("Check = %+v, want a refusal", info)
	}
	var refused *module.Error
	if !errors.As(err, &refused) {
		t.Fatalf("Check: %T, want *module.Error", err)
	}
	return refused
}

func importing(from, name string, typ module.FuncType) []byte {
	m := moduletest.Command(nil)
	m.Imports = append(m.Imports, module.Import{Module: from, Name: name, Type: typ})
	return moduletest.Build(m)
}

func TestCheckRefuses(t *testing.T) {
	i32 := []module.ValueType{module.I32}
	reactor := moduletest.Reactor(moduletest.Respond(200))
	startAndHandle := reactor
	startAndHandle.Funcs = append([]moduletest.Func{{Name: "_start", Export: true}}, reactor.Funcs...)
	noMemory := reactor
	noMemory.HasMemory, noMemory.Data = false, nil
	httpCommand := moduletest.Command(nil)
	httpCommand.Imports = append(httpCommand.Imports, moduletest.Served(module.HTTPModule, "response_head"))
	tests := []struct {
		name  string
		wasm  []byte
		code  module.Code
		field string
		says  []string // in cause or fix
	}{
		{"empty", nil, module.CodeNotWasm, "", []string{"it is empty"}},
		{"html", []byte("<!doctype html>"), module.CodeNotWasm, "", []string{"3c 21 64 6f", ".wasm file itself"}},
		{"elf", []byte("\x7fELF\x02\x01"), module.CodeNotWasm, "", []string{"7f 45 4c 46"}},
		{"text", []byte("\n (module (func))"), module.CodeTextFormat, "", []string{"wat2wasm"}},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), module.CodeComponent, "", []string{"component", "wasip1"}},
		{"version 2", []byte("\x00asm\x02\x00\x00\x00"), module.CodeVersion, "", []string{"version 2"}},
		{"cut header", []byte("\x00asm\x01"), module.CodeMalformed, "header", []string{"too early"}},
		{"library", moduletest.Build(moduletest.Module{Funcs: []moduletest.Func{{Name: "add", Export: true}}}),
			module.CodeNoEntryPoint, "exports", []string{"library", "it exports add", "main"}},
		{"unknown function", importing(module.WASIModule, "fd_wriet", module.FuncType{}),
			module.CodeUnresolvedImport, "import wasi_snapshot_preview1.fd_wriet", []string{"did you mean fd_write", "path_open"}},
		{"wrong type", importing(module.WASIModule, "fd_write", module.FuncType{Params: i32, Results: i32}),
			module.CodeImportType, "import wasi_snapshot_preview1.fd_write", []string{"(i32) -> (i32)", "(i32 i32 i32 i32) -> (i32)"}},
		{"browser Go", importing("gojs", "runtime.wasmExit", module.FuncType{Params: i32}),
			module.CodeUnresolvedImport, "import gojs.runtime.wasmExit", []string{"GOOS=wasip1"}},
		{"emscripten", importing("env", "emscripten_memcpy_js", module.FuncType{}),
			module.CodeUnresolvedImport, "import env.emscripten_memcpy_js", []string{"emscripten", "wasi-sdk"}},
		{"undefined symbol", importing("env", "curl_easy_init", module.FuncType{}),
			module.CodeUnresolvedImport, "import env.curl_easy_init", []string{"link the library"}},
		{"AssemblyScript", importing("env", "abort", module.FuncType{}),
			module.CodeUnresolvedImport, "import env.abort", []string{"AssemblyScript"}},
		{"wasm-bindgen", importing("__wbindgen_placeholder__", "f", module.FuncType{}),
			module.CodeUnresolvedImport, "import __wbindgen_placeholder__.f", []string{"wasm32-wasip1"}},
		{"draft", importing("wasi_unstable", "fd_write", module.FuncType{}),
			module.CodeUnresolvedImport, "import wasi_unstable.fd_write", []string{"draft"}},
		{"other ABI", importing("petrel_http_v9", "x", module.FuncType{}),
			module.CodeUnresolvedImport, "import petrel_http_v9.x", []string{"SDK"}},
		{"reactor built as command", moduletest.Build(startAndHandle), module.CodeNoEntryPoint, "export _initialize", []string{"-buildmode=c-shared"}},
		{"reactor without memory", moduletest.Build(noMemory), module.CodeNoEntryPoint, "export memory", []string{"memory"}},
		{"command with HTTP imports", moduletest.Build(httpCommand), module.CodeNoEntryPoint,
			"export petrel_http_v1_handle", []string{"-buildmode=c-shared"}},
		{"start with a result", moduletest.Build(moduletest.Module{Funcs: []moduletest.Func{
			{Name: "_start", Type: module.FuncType{Results: i32}, Body: moduletest.Const(1), Export: true}}}),
			module.CodeEntryPointType, "export _start", []string{"() -> (i32)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := refusal(t, tt.wasm, module.Limits{})
			if err.Code != tt.code || err.Field != tt.field {
				t.Errorf("refused as %s at %q, want %s at %q: %v", err.Code, err.Field, tt.code, tt.field, err)
			}
			if err.Fix == "" {
				t.Error("no fix is told")
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("the error does not say %q: %v", s, err)
				}
			}
		})
	}
}

func TestCheckCountsOtherImports(t *testing.T) {
	m := moduletest.Command(nil)
	for _, name := range []string{"a", "b", "c"} {
		m.Imports = append(m.Imports, module.Import{Module: "host", Name: name})
	}
	err := refusal(t, moduletest.Build(m), module.Limits{})
	if !strings.Contains(err.Cause, "2 more of its imports") {
		t.Errorf("cause = %q, want it to count two more", err.Cause)
	}
}

func TestCheckAccepts(t *testing.T) {
	command, err := module.Check(moduletest.Exit(3), module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if command.Kind != module.KindCommand || len(command.Imports) != 4 || command.MemoryMinPages != 1 || command.MemoryHasMax {
		t.Errorf("command: %+v", command)
	}
	m := moduletest.Reactor(moduletest.Respond(200))
	m.Name, m.MaxPages = "greeter", 7
	wasm := moduletest.Build(m)
	reactor, err := module.Check(wasm, module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if reactor.Kind != module.KindReactor || reactor.Name != "greeter" || reactor.NamedFunctions != 1 ||
		reactor.MemoryMaxPages != 7 || reactor.Size != int64(len(wasm)) || reactor.DataSegments != 1 {
		t.Errorf("reactor: %+v", reactor)
	}
	if !strings.HasPrefix(reactor.Digest, "sha256:") || len(reactor.Digest) != 71 {
		t.Errorf("digest %q", reactor.Digest)
	}
	if !reactor.ImportsFrom(module.HTTPModule) || reactor.ImportsFrom(module.WASIModule) {
		t.Error("ImportsFrom tells the wrong modules")
	}
}

func TestCheckTellsProducers(t *testing.T) {
	body := moduletest.Name("producers")
	body = append(body, 1)
	body = append(body, moduletest.Name("language")...)
	body = append(body, 1)
	body = append(body, moduletest.Name("Go")...)
	body = append(body, moduletest.Name("go1.26")...)
	lib := moduletest.Build(moduletest.Module{Funcs: []moduletest.Func{{Name: "_initialize", Export: true}}})
	err := refusal(t, append(lib, moduletest.Section(moduletest.Custom, body)...), module.Limits{})
	if !strings.Contains(err.Fix, "guest.Handle") {
		t.Errorf("fix %q does not lead a Go author to the SDK", err.Fix)
	}
}
