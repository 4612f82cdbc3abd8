// Package moduletest makes small WebAssembly binaries by hand, for tests of everything that reads or runs modules: the
// well-behaved, the hostile and the broken.
//
// It may import the standard library and wasmrt/module.
package moduletest
