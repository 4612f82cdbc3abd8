package module_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

var pointerPair = module.FuncType{Params: []module.ValueType{module.I32, module.I32}}

// httpWasm is a guest of that ABI, with what the test leaves or adds.
func httpWasm(change func(*moduletest.Module)) []byte {
	m := moduletest.Module{
		Imports: []module.Import{moduletest.Served(module.HTTPWasmModule, "set_status_code")},
		Funcs: []moduletest.Func{
			{Name: "handle_request", Type: module.FuncType{Results: []module.ValueType{module.I64}}, Body: moduletest.I64(0), Export: true},
			{Name: "handle_response", Type: pointerPair, Export: true},
		},
		HasMemory: true, Pages: 1,
	}
	if change != nil {
		change(&m)
	}
	return moduletest.Build(m)
}

// producedByGo is a command as Go builds it, with or without package net.
func producedByGo(wasm []byte) []byte {
	body := moduletest.Name("producers")
	body = append(body, 1)
	body = append(body, moduletest.Name("language")...)
	body = append(body, 1)
	body = append(body, moduletest.Name("Go")...)
	body = append(body, moduletest.Name("go1.26")...)
	return append(slices.Clone(wasm), moduletest.Section(moduletest.Custom, body)...)
}

func TestDetect(t *testing.T) {
	reactor := moduletest.Build(moduletest.Reactor(moduletest.Respond(200)))
	command := moduletest.Exit(0)
	server := moduletest.Build(moduletest.CommandWith(nil, "sock_accept"))
	started := httpWasm(func(m *moduletest.Module) {
		m.Funcs = append(m.Funcs, moduletest.Func{Name: "_start", Export: true})
	})
	bare := httpWasm(func(m *moduletest.Module) { m.Imports = nil })
	tests := []struct {
		name     string
		wasm     []byte
		override string
		port     bool
		want     module.ABI
		says     []string
		silent   string // what the reason must not say
	}{
		{"reactor", reactor, "", true, module.ABIReactor, []string{"petrel_http_v1_handle"}, ""},
		{"reactor without port", reactor, "auto", false, module.ABIReactor, []string{"petrel_http_v1_handle"}, ""},
		{"http-wasm", httpWasm(nil), "", true, module.ABIHTTPWasm, []string{"handle_request", "http_handler"}, ""},
		{"http-wasm with _start", started, "", false, module.ABIHTTPWasm, []string{"handle_request"}, ""},
		{"http-wasm without imports", bare, "", true, module.ABIHTTPWasm, []string{"handle_request"}, "http_handler"},
		{"command", command, "", false, module.ABICommand, []string{"_start", "no port"}, ""},
		{"wagi", command, "", true, module.ABIWAGI, []string{"_start", "no sock_accept"}, ""},
		{"sockets", server, "", true, module.ABISockets, []string{"_start", "sock_accept"}, "package net"},
		{"sockets in Go", producedByGo(server), "", true, module.ABISockets, []string{"package net", "petrel.run/http: wagi"}, ""},
		{"server without port", server, "", false, module.ABICommand, []string{"no port"}, ""},
		{"forced wagi", producedByGo(server), "wagi", true, module.ABIWAGI, []string{`petrel.run/http is "wagi"`}, ""},
		{"forced wagi without port", command, "wagi", false, module.ABIWAGI, []string{"wagi"}, ""},
		{"forced command", command, "command", true, module.ABICommand, []string{"command"}, ""},
		{"forced sockets", server, "sockets", true, module.ABISockets, []string{"sockets"}, ""},
		{"forced reactor", reactor, "reactor", true, module.ABIReactor, []string{"reactor"}, ""},
		{"forced http-wasm", httpWasm(nil), "http-wasm", true, module.ABIHTTPWasm, []string{"http-wasm"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := module.Check(tt.wasm, module.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			abi, reason, err := module.Detect(info, tt.override, tt.port)
			if err != nil || abi != tt.want {
				t.Fatalf("Detect = %q, %v, want %q", abi, err, tt.want)
			}
			for _, s := range tt.says {
				if !strings.Contains(reason, s) {
					t.Errorf("the reason %q does not say %q", reason, s)
				}
			}
			if tt.silent != "" && strings.Contains(reason, tt.silent) {
				t.Errorf("the reason %q says %q", reason, tt.silent)
			}
		})
	}
}

func TestDetectRefuses(t *testing.T) {
	reactor := moduletest.Build(moduletest.Reactor(moduletest.Respond(200)))
	tests := []struct {
		name, override string
		wasm           []byte
		says           []string
	}{
		{"unknown", "fastcgi", reactor, []string{`petrel.run/http is "fastcgi"`, "auto, reactor, http-wasm, wagi, sockets, command"}},
		{"reactor as wagi", "wagi", reactor, []string{"it is a reactor", "auto, reactor"}},
		{"reactor as http-wasm", "http-wasm", reactor, []string{"does not export handle_request"}},
		{"command as reactor", "reactor", moduletest.Exit(0), []string{"petrel_http_v1_handle", "auto, wagi, command"}},
		{"command as server", "sockets", moduletest.Exit(0), []string{"imports no sock_accept"}},
		{"http-wasm as command", "command", httpWasm(nil), []string{"it is a reactor"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := module.Check(tt.wasm, module.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			abi, _, err := module.Detect(info, tt.override, true)
			var refused *module.Error
			if !errors.As(err, &refused) || refused.Code != module.CodeHTTPMode || refused.Field != module.AnnotationHTTP {
				t.Fatalf("Detect = %q, %v", abi, err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("the error does not say %q: %v", s, err)
				}
			}
		})
	}
}

func TestDetectRefusesLibraries(t *testing.T) {
	info, err := module.Read(moduletest.Build(moduletest.Module{Funcs: []moduletest.Func{{Name: "handle_request", Export: true}}}), module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	abi, _, err := module.Detect(info, "", true)
	var refused *module.Error
	if !errors.As(err, &refused) || refused.Code != module.CodeNoEntryPoint || refused.Fix == "" {
		t.Errorf("Detect = %q, %v, want a refusal with a fix", abi, err)
	}
}

func TestCheckHTTPWasm(t *testing.T) {
	tests := []struct {
		name   string
		change func(*moduletest.Module)
		code   module.Code
		field  string
	}{
		{"no handle_response", func(m *moduletest.Module) { m.Funcs = m.Funcs[:1] }, module.CodeNoEntryPoint, "export handle_response"},
		{"no memory", func(m *moduletest.Module) { m.HasMemory = false }, module.CodeNoEntryPoint, "export memory"},
		{"handle_request of another type", func(m *moduletest.Module) {
			m.Funcs[0].Type.Results, m.Funcs[0].Body = nil, nil
		}, module.CodeEntryPointType, "export handle_request"},
		{"handle_response of another type", func(m *moduletest.Module) { m.Funcs[1].Type = module.FuncType{} },
			module.CodeEntryPointType, "export handle_response"},
		{"a command", func(m *moduletest.Module) { m.Funcs = []moduletest.Func{{Name: "_start", Export: true}} },
			module.CodeNoEntryPoint, "export handle_request"},
		{"an import of another type", func(m *moduletest.Module) { m.Imports[0].Type = module.FuncType{} },
			module.CodeImportType, "import http_handler.set_status_code"},
		{"a reserved export", func(m *moduletest.Module) {
			m.Funcs = append(m.Funcs, moduletest.Func{Name: "\x00petrel.counter", Export: true})
		}, module.CodeMalformed, `export "\x00petrel.counter"`},
		{"the meter's import", func(m *moduletest.Module) {
			m.Imports = append(m.Imports, module.Import{Module: "petrel_meter", Name: "yield"})
		}, module.CodeUnresolvedImport, "import petrel_meter.yield"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := refusal(t, httpWasm(tt.change), module.Limits{})
			if err.Code != tt.code || err.Field != tt.field || err.Fix == "" {
				t.Errorf("refused as %s at %q (%v), want %s at %q", err.Code, err.Field, err, tt.code, tt.field)
			}
		})
	}
}

// TestDetectOutgoing: outgoing requests belong to a request, which a command that runs by itself has not.
func TestDetectOutgoing(t *testing.T) {
	m := moduletest.CommandWith(nil, "sock_accept")
	m.Imports = append(m.Imports, moduletest.Served(module.HTTPClientModule, "wait"))
	info, err := module.Check(moduletest.Build(m), module.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for mode, port := range map[string]bool{"": true, module.HTTPCommand: true, module.HTTPSockets: false} {
		_, _, err := module.Detect(info, mode, port)
		var refused *module.Error
		if !errors.As(err, &refused) || refused.Code != module.CodeUnresolvedImport || !strings.Contains(refused.Fix, "network") {
			t.Errorf("%q: %v", mode, err)
		}
	}
	if abi, _, err := module.Detect(info, module.HTTPWAGI, true); abi != module.ABIWAGI || err != nil {
		t.Errorf("as WAGI: %s, %v", abi, err)
	}
}
