package module

// Kind is how a module runs.
type Kind string

const (
	// KindCommand runs from _start to its exit.
	KindCommand Kind = "command"
	// KindReactor is initialised once and then serves one HTTP request through HandleExport.
	KindReactor Kind = "reactor"
	// KindLibrary is neither: Read tells it, Check refuses it.
	KindLibrary Kind = "library"
)

// The exports that make a kind.
const (
	StartExport      = "_start"
	InitializeExport = "_initialize"
	HandleExport     = "petrel_http_v1_handle"
	MemoryExport     = "memory"
)

// Info is what a module tells about itself.
type Info struct {
	Digest string // "sha256:" and the hash of the file in hex
	Size   int64  // bytes
	Kind   Kind

	Imports []Import
	Exports []Export

	HasMemory      bool
	MemoryMinPages uint32
	MemoryMaxPages uint32 // meaningful when MemoryHasMax
	MemoryHasMax   bool

	Types, Functions, Tables, Globals uint32 // defined in the module, imports not counted
	DataSegments, ElementSegments     uint32
	HasStartSection                   bool

	Name           string // of the name section; may be empty
	NamedFunctions uint32 // entries of the name section; 0 means that traps can name no function
	CustomSections []string
	Producers      []Producer
}

// Producer is one entry of the producers section, e.g. {"language", "Go", "go1.26.8"}.
type Producer struct {
	Field, Name, Version string
}

// ProducedBy returns the version of the named tool or language, and whether the module names it.
func (i *Info) ProducedBy(name string) (string, bool) {
	for _, p := range i.Producers {
		if p.Name == name {
			return p.Version, true
		}
	}
	return "", false
}

// Export returns the export of that name and kind.
func (i *Info) Export(name string, kind ExternKind) (Export, bool) {
	for _, e := range i.Exports {
		if e.Name == name && e.Kind == kind {
			return e, true
		}
	}
	return Export{}, false
}

// ImportsFrom tells whether the module imports anything from the named module.
func (i *Info) ImportsFrom(module string) bool {
	for _, im := range i.Imports {
		if im.Module == module {
			return true
		}
	}
	return false
}
