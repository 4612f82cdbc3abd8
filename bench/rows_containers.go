package main

import "github.com/petrelrun/petrel/bench/table"

// containersPackage compares the two runtimes through their CRI sockets.
const containersPackage = "./bench/containers"

// containerRows compare Wasm pods with pods of containers. All need root and Debian's containerd.
func containerRows() []row {
	return []row{
		{
			name: "pods/rate-vs-container", direction: table.AtLeast, bar: 30,
			measure: goBenchmark{pkg: containersPackage, name: "BenchmarkRate", times: 5, metric: "ratio"}.measure,
			what: "Pods per second, four started at a time, from RunPodSandbox to the first answer to an HTTP request: a Go guest in petrel-wasmrt,\n" +
				"divided by busybox's httpd in containerd with runc. Both are driven through their CRI sockets, in turns, and the value is the\n" +
				"ratio of medians.",
		},
		{
			name: "pods/memory-vs-container", direction: table.AtLeast, bar: 100,
			measure: goBenchmark{pkg: containersPackage, name: "BenchmarkMemory", times: 1, metric: "ratio"}.measure,
			what: "Memory that an idle pod of busybox's httpd beyond the first takes in containerd, its shim, pause and the program together, divided by\n" +
				"that of an idle pod of a Go guest in petrel-wasmrt and its runner. What the kernel holds for a container's namespaces, links, mounts\n" +
				"and control groups is not counted.",
		},
	}
}
