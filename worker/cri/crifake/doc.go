// Package crifake is a container runtime in memory, for tests: it speaks CRI v1 over a real unix socket, its containers
// are Go functions, and it writes real CRI log files. Tests can make calls fail, kill containers, and take the socket
// away and bring it back while the containers go on, as a restart of a supervisor that adopts its runners does.
//
// It has to pass the conformance suite of critest like every other runtime. It may import gRPC and k8s.io/cri-api.
package crifake
