// Command petrel-wasmrt is the Wasm runtime: it serves the Container Runtime Interface on a unix socket and runs the
// guests of each namespace in a process of their own.
//
//	petrel-wasmrt serve --root /var/lib/petrel/wasmrt --socket /run/petrel/wasmrt.sock
//	petrel-wasmrt stop --root /var/lib/petrel/wasmrt
//
// serve is the supervisor. It starts runners (the internal subcommand runner) and compilers (compile) from its own
// binary. Runners outlive it: a supervisor that is started again on the same root adopts them. stop ends them.
//
// It is wiring only; the work is in wasmrt.
package main
