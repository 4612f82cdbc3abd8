// Command example runs another command for which made-up addresses lead to backends of your choice, and prints what went
// where. It shows ebpfproxy used alone, without an orchestrator:
//
//	go run ./ebpfproxy/example -service 10.96.0.1:80=127.0.0.1:8080,127.0.0.1:8081 -- curl -s http://10.96.0.1/
//
// It needs root. The command runs in a cgroup of its own; no other process sees the services, and nothing is left when
// the command ends.
package main
