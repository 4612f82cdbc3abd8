// Package petrel is the root of Petrel, a WebAssembly-native orchestrator: it holds no code, only the test that keeps
// every room's imports to the table of docs/architecture.md. The programs are in cmd.
package petrel
