package main

import "github.com/petrelrun/petrel/bench/table"

// containersPackage compares the two runtimes through their CRI sockets.
const containersPackage = "./bench/containers"

// startTimes is how often pods of each kind are started.
const startTimes = 20

// containerRows compare Wasm pods with pods of containers. All need root and Debian's containerd.
func containerRows() []row {
	start := goBenchmark{pkg: containersPackage, name: "BenchmarkStart", times: startTimes}
	answer, share := start, start
	answer.metric, answer.here = "ratio", bar{"wasm-us", 20_000}
	share.metric, share.here = "share", bar{"petrels-own-us", 15_000}
	return []row{
		{
			name: "pods/start-vs-container", direction: table.AtLeast, bar: 8, measure: answer.measure,
			what: "Time from a pod's binding to the first answer at its address, of a container pod (busybox's httpd), divided by that of a Wasm pod (a Go\n" +
				"guest) on the same node of the same cluster, one after the other, in turns; medians.",
		},
		{
			name: "pods/container-own-share", direction: table.AtMost, bar: 1.1, measure: share.measure,
			what: "The same time of a container pod, divided by that of bare CRI calls to the same containerd that ask for just what the worker asked for, in\n" +
				"turns; medians. The difference is Petrel's: the API's watch, volumes, the address, the statuses.",
		},
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
