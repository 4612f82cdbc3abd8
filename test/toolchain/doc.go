// Package toolchain makes what the end-to-end tests and the benchmarks drive: Petrel's own binaries, the real kubectl
// and crane at the versions that go.mod pins, the examples' modules and the tests' own guests. Everything is built by
// the go command, whose cache makes the second time quick, and lands below bin/ and examples/bin of the source tree.
//
// It may import the standard library only.
package toolchain
