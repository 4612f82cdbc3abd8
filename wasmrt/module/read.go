package module

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// The ids of sections, and the place each has in a binary: sections but the custom one come in this order, once each.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
	sectionTag       = 13
)

var sectionNames = map[byte]string{
	sectionCustom: "custom section", sectionType: "type section", sectionImport: "import section",
	sectionFunction: "function section", sectionTable: "table section", sectionMemory: "memory section",
	sectionGlobal: "global section", sectionExport: "export section", sectionStart: "start section",
	sectionElement: "element section", sectionCode: "code section", sectionData: "data section",
	sectionDataCount: "data count section", sectionTag: "tag section",
}

// sectionOrder is not the ids' order: data count stands before code, so that a reader knows it there.
var sectionOrder = map[byte]int{
	sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5, sectionTag: 6,
	sectionGlobal: 7, sectionExport: 8, sectionStart: 9, sectionElement: 10, sectionDataCount: 11, sectionCode: 12,
	sectionData: 13,
}

// reader holds what sections read earlier mean for later ones.
type reader struct {
	limits Limits
	info   *Info

	types     []FuncType
	functions []uint32 // type index of each function, imported ones first
	imported  struct{ functions, tables, memories, globals, tags uint32 }
	dataCount *uint32
	elements  uint64 // that all tables start with
	bodies    uint32
	lastOrder int

	kept *keptSections // nil: nobody wants the sections themselves
}

// keptSections are the contents of a module's sections by id, and of its name section; views of the input.
type keptSections struct {
	byID  [sectionTag + 1][]byte
	names []byte
}

// Read reads a module's structure. It says nothing about whether Petrel can run it: that is Check. The error is an
// *Error.
func Read(wasm []byte, limits Limits) (*Info, error) {
	limits = limits.withDefaults()
	if int64(len(wasm)) > limits.MaxSize {
		return nil, &Error{
			Code:  CodeTooLarge,
			Cause: fmt.Sprintf("the module has %d bytes, the limit is %d", len(wasm), limits.MaxSize),
			Fix:   `strip it (Go: -ldflags="-s -w"; others: wasm-strip or wasm-opt -Oz) or raise the limit on the server`,
		}
	}
	if err := checkHeader(wasm); err != nil {
		return nil, err
	}
	r := &reader{limits: limits, info: &Info{Size: int64(len(wasm))}}
	if err := r.sections(&cursor{b: wasm, pos: 8}); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(wasm)
	r.info.Digest = "sha256:" + hex.EncodeToString(sum[:])
	r.info.Kind = kindOf(r.info)
	return r.info, nil
}

// checkHeader looks at the first eight bytes: magic, version and layer.
func checkHeader(wasm []byte) *Error {
	magic := []byte("\x00asm")
	if len(wasm) < 4 || !bytes.Equal(wasm[:4], magic) {
		if looksLikeText(wasm) {
			return &Error{
				Code:  CodeTextFormat,
				Cause: "the file is WebAssembly text, not a binary",
				Fix:   "translate it: wat2wasm module.wat -o module.wasm",
			}
		}
		return &Error{
			Code:  CodeNotWasm,
			Cause: "the file is not a WebAssembly binary: it begins with " + firstBytes(wasm),
			Fix:   `upload the .wasm file itself (it begins with the bytes 00 61 73 6d), not a page, an archive or a native program`,
		}
	}
	if len(wasm) < 8 {
		return malformed("header", "%v", errShort)
	}
	switch version, layer := int(wasm[4])|int(wasm[5])<<8, int(wasm[6])|int(wasm[7])<<8; {
	case layer == 1:
		return &Error{
			Code:  CodeComponent,
			Cause: "the file is a WebAssembly component (WASI 0.2 or later), which is not served yet",
			Fix:   "build a core module for WASI preview 1 (Go: GOOS=wasip1; Rust: --target wasm32-wasip1; C: --target=wasm32-wasi)",
		}
	case layer != 0 || version != 1:
		return &Error{
			Code:  CodeVersion,
			Cause: fmt.Sprintf("the binary has version %d (layer %d), only version 1 is served", version, layer),
			Fix:   "build it with a toolchain that writes WebAssembly version 1",
		}
	}
	return nil
}

func looksLikeText(b []byte) bool {
	b = bytes.TrimLeft(b[:min(len(b), 4096)], " \t\r\n")
	return bytes.HasPrefix(b, []byte("(module")) || bytes.HasPrefix(b, []byte("(component")) || bytes.HasPrefix(b, []byte(";;"))
}

func firstBytes(b []byte) string {
	if len(b) == 0 {
		return "nothing, it is empty"
	}
	return fmt.Sprintf("% x", b[:min(len(b), 4)])
}

// sections walks the file and gives each section a cursor of its own, which it must use up.
func (r *reader) sections(c *cursor) error {
	for c.left() > 0 {
		id, _ := c.u8()
		name, known := sectionNames[id]
		if !known {
			return malformed("sections", "section id %d at byte %d is unknown", id, c.pos-1)
		}
		size, err := c.u32()
		if err != nil {
			return malformed(name, "size: %v", err)
		}
		body, err := c.bytes(size)
		if err != nil {
			return malformed(name, "it says %d bytes and only %d are left", size, c.left())
		}
		if id != sectionCustom {
			if sectionOrder[id] <= r.lastOrder {
				return malformed(name, "it stands twice or out of order")
			}
			r.lastOrder = sectionOrder[id]
		}
		s := &cursor{b: body}
		if r.kept != nil {
			r.kept.byID[id] = body
		}
		if err := r.section(id, name, s); err != nil {
			return asError(name, err)
		}
		if id != sectionCustom && s.left() != 0 {
			return malformed(name, "%d bytes follow its end", s.left())
		}
	}
	return r.finish()
}

func asError(field string, err error) error {
	var refused *Error
	if errors.As(err, &refused) {
		return refused
	}
	return malformed(field, "%v", err)
}

func (r *reader) section(id byte, name string, s *cursor) error {
	switch id {
	case sectionCustom:
		return r.custom(s)
	case sectionType:
		return r.typeSection(s)
	case sectionImport:
		return r.importSection(s)
	case sectionFunction:
		return r.functionSection(s)
	case sectionTable:
		return r.tableSection(s)
	case sectionMemory:
		return r.memorySection(s)
	case sectionGlobal:
		return r.globalSection(s)
	case sectionExport:
		return r.exportSection(s)
	case sectionStart:
		return r.startSection(s)
	case sectionElement:
		return r.elementSection(s)
	case sectionCode:
		return r.codeSection(s)
	case sectionData:
		return r.dataSection(s)
	case sectionDataCount:
		n, err := s.u32()
		r.dataCount = &n
		return err
	case sectionTag:
		return &Error{
			Code:  CodeUnsupportedFeature,
			Field: name,
			Cause: "the module uses WebAssembly exceptions, which are not served",
			Fix:   "build without them (Rust: panic=abort; C++: -fno-exceptions)",
		}
	}
	return fmt.Errorf("section id %d is unknown", id)
}

// finish checks what only the whole file shows.
func (r *reader) finish() error {
	if r.bodies != r.info.Functions {
		return malformed("code section", "%d functions are declared and %d have a body", r.info.Functions, r.bodies)
	}
	if r.dataCount != nil && *r.dataCount != r.info.DataSegments {
		return malformed("data section", "%d segments are announced and %d are there", *r.dataCount, r.info.DataSegments)
	}
	return nil
}
