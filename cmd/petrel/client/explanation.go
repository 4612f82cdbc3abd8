package client

import (
	"errors"
	"slices"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// explanation is what can be said of a module without running it.
type explanation struct {
	File     string   `json:"file,omitempty"`
	Digest   string   `json:"digest"`
	Size     int64    `json:"size"`
	Name     string   `json:"name,omitempty"`
	Made     []string `json:"producers,omitempty"`
	Kind     string   `json:"kind"`
	ABI      string   `json:"abi,omitempty"`
	Reason   string   `json:"abi_reason,omitempty"`
	Instance string   `json:"instance,omitempty"` // what a request gets
	Snapshot snapshot `json:"snapshot"`
	Memory   memory   `json:"memory"`

	Functions      uint32 `json:"functions"`
	NamedFunctions uint32 `json:"named_functions"`
	DataSegments   uint32 `json:"data_segments"`

	Imports []imports `json:"imports"`
	Exports []string  `json:"exports"`
	Limits  []limit   `json:"limits,omitempty"`
}

// snapshot tells whether instances can be copies of an initialised one.
type snapshot struct {
	Possible bool   `json:"possible"`
	Reason   string `json:"reason,omitempty"` // a code, as the runtime has it
	Detail   string `json:"detail,omitempty"`
}

type memory struct {
	Initial uint64 `json:"initial_bytes"`
	Most    uint64 `json:"max_bytes,omitempty"` // that the module itself declares
}

// imports are those from one module.
type imports struct {
	Module    string    `json:"module"`
	Functions []string  `json:"functions"`
	Refused   []refusal `json:"refused,omitempty"`
}

type refusal struct {
	Name  string `json:"name"`
	Cause string `json:"cause"`
	Fix   string `json:"fix,omitempty"`
}

// explainModule reads a module. What is no module at all has no explanation, only a refusal.
func explainModule(wasm []byte, mode string) (*explanation, *module.Error) {
	info, err := module.Read(wasm, module.Limits{})
	if err != nil {
		return nil, asRefusal(err)
	}
	e := &explanation{
		Digest: info.Digest, Size: info.Size, Name: info.Name, Kind: string(info.Kind), Functions: info.Functions,
		NamedFunctions: info.NamedFunctions, DataSegments: info.DataSegments, Imports: importsOf(info), Exports: exportsOf(info),
	}
	for _, p := range info.Producers {
		e.Made = append(e.Made, strings.TrimSpace(p.Name+" "+p.Version))
	}
	e.Memory.Initial = uint64(info.MemoryMinPages) * module.PageSize
	if info.MemoryHasMax {
		e.Memory.Most = uint64(info.MemoryMaxPages) * module.PageSize
	}
	if _, err := module.Check(wasm, module.Limits{}); err != nil {
		return e, asRefusal(err)
	}
	abi, reason, err := module.Detect(info, mode, true)
	if err != nil {
		return e, asRefusal(err)
	}
	e.ABI, e.Reason, e.Instance, e.Limits = string(abi), reason, instanceOf(abi), limitsOf(abi)
	if e.Snapshot, err = snapshotOf(wasm, info, abi); err != nil {
		return e, asRefusal(err)
	}
	return e, nil
}

// asRefusal makes every error one with a code.
func asRefusal(err error) *module.Error {
	var refused *module.Error
	if errors.As(err, &refused) {
		return refused
	}
	return &module.Error{Code: module.CodeInvalid, Cause: err.Error()}
}

func importsOf(info *module.Info) []imports {
	out := []imports{}
	for _, im := range info.Imports {
		i := slices.IndexFunc(out, func(o imports) bool { return o.Module == im.Module })
		if i < 0 {
			i = len(out)
			out = append(out, imports{Module: im.Module})
		}
		of := &out[i]
		of.Functions = append(of.Functions, im.Name)
		if err := module.CheckImport(info, im); err != nil {
			of.Refused = append(of.Refused, refusal{im.Name, err.Cause, err.Fix})
		}
	}
	return out
}

func exportsOf(info *module.Info) []string {
	out := []string{}
	for _, e := range info.Exports {
		out = append(out, e.Name)
	}
	return out
}

// instanceOf says what a request gets of an instance.
func instanceOf(abi module.ABI) string {
	switch abi {
	case module.ABIReactor, module.ABIHTTPWasm:
		return "each request has one of its own, put back to the snapshot after it (isolation reset; fresh and shared can be asked for)"
	case module.ABIWAGI:
		return "each request is a run of the program, from its beginning to its end"
	case module.ABISockets:
		return "one, which serves all requests and keeps its state"
	}
	return "one, which runs once"
}

// obstacles says for people what keeps a module from being snapshotted.
var obstacles = map[string]string{
	"command":          "a command does its work in the call that begins it",
	"imported_memory":  "its memory is imported",
	"imported_table":   "its function table is imported",
	"imported_global":  "it imports global variables",
	"no_memory":        "it has no memory",
	"passive_data":     "it drops data segments while it runs, which a copy cannot undo",
	"table_write":      "it changes its function table while it runs, which a copy cannot undo",
	"vector_global":    "it has a global variable of 128 bits, which cannot be read from outside",
	"reference_global": "it has a global variable that refers to a function or object",
}

func snapshotOf(wasm []byte, info *module.Info, abi module.ABI) (snapshot, error) {
	reason := "command"
	if abi == module.ABIReactor || abi == module.ABIHTTPWasm {
		rewritten, err := module.Rewrite(wasm, info, module.RewriteOptions{Meter: true, CallDepth: true, Snapshot: true})
		if err != nil {
			return snapshot{}, err
		}
		reason = rewritten.NoSnapshot
	}
	detail, known := obstacles[reason]
	if !known && reason != "" {
		detail = "the rewriting of the module found an obstacle"
	}
	return snapshot{Possible: reason == "", Reason: reason, Detail: detail}, nil
}

// limit is a bound and how it is set.
type limit struct {
	Name    string `json:"name"`
	Default string `json:"default"`
	Set     string `json:"set_by"`
}

// limits are the runtime's defaults; a test holds them against it.
var limits = []struct {
	limit
	of []module.ABI // none: all
}{
	{limit{"memory of an instance", "256 MiB", "--memory"}, nil},
	{limit{"processor time of a request", "10s", "--cpu-time"}, serving},
	{limit{"time of a request", "30s", "--wall-time"}, serving},
	{limit{"requests at once", "32", "--concurrency"}, serving},
	{limit{"requests waiting", "256 for up to 10s", "--queue, --queue-time"}, serving},
	{limit{"request body", "1 GiB", "--max-request-body"}, serving},
	{limit{"response body", "4 GiB", "--max-response-body"}, serving},
	{limit{"depth of calls", "20000", "--call-depth"}, nil},
	{limit{"open files", "256", "--max-files"}, nil},
}

// serving are the ABIs that are handed requests one by one.
var serving = []module.ABI{module.ABIReactor, module.ABIHTTPWasm, module.ABIWAGI}

func limitsOf(abi module.ABI) []limit {
	var out []limit
	for _, l := range limits {
		if l.of == nil || slices.Contains(l.of, abi) {
			out = append(out, l.limit)
		}
	}
	return out
}
