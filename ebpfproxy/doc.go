// Package ebpfproxy is the room of the service proxy in the kernel: tables of services and backends as pure Go values,
// kept in BPF maps that programs on the socket and packet paths read.
//
// Nothing stands here yet. Until it does, and afterwards on hosts where BPF is not to be had, worker/service serves
// the same tables from user space. The package will know nothing of the orchestrator, so that it can be used alone,
// and it will be the only importer of github.com/cilium/ebpf.
package ebpfproxy
