// Package compile is the process that inspects and compiles one module, puts its machine code into the cache and ends.
//
// A module that was made to hurt whoever reads it (a bomb for the compiler, a bug of the decoder) hurts this process
// alone: its memory and processor time are limited by the kernel, under pressure it is the first to go, and its answer
// is one line of JSON on standard output. That is how images are checked before they are accepted.
//
// It imports the engine's rooms.
package compile
