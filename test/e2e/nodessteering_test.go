package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
)

// podPortHex is web's port as /proc/net/tcp writes it.
const podPortHex = ":1F90"

// oneSocketForAllPods checks that pods answer at addresses where nobody has bound a socket: the kernel hands their connections
// to the one that the namespace's runner has.
func oneSocketForAllPods(w *world, n *cluster.Nodes) {
	for i, node := range n.Lab.Nodes() {
		runners := 0
		for _, p := range node.Processes() {
			if !isWasmrt(p.Args, "runner") {
				continue
			}
			runners++
			if at := listeningAt(w, p.PID, podPortHex); len(at) > 0 {
				w.Errorf("%s: pods have sockets of their own: %v", node.Name, at)
			}
		}
		if runners == 0 {
			w.Errorf("%s has no runner", node.Name)
		}
		for _, pod := range w.pods() {
			if pod.Spec.NodeName != node.Name || pod.Labels["app"] != "web" {
				continue
			}
			if got, err := ask(w.Context(), n.HTTP(i), "http://"+pod.Status.PodIP+":8080/"); err != nil || got != pod.Name {
				w.Errorf("%s at %s answers %q, %v", pod.Name, pod.Status.PodIP, got, err)
			}
		}
	}
}

// isWasmrt says whether a process is petrel-wasmrt, running one of its commands.
func isWasmrt(args []string, command string) bool {
	return len(args) > 1 && filepath.Base(args[0]) == "petrel-wasmrt" && args[1] == command
}

// listeningAt answers the addresses of sockets that listen in the process's network, at a port.
func listeningAt(w *world, pid int, port string) []string {
	w.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	var at []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		const listening = "0A"
		if f := strings.Fields(lines.Text()); len(f) > 3 && f[3] == listening && strings.HasSuffix(f[1], port) {
			at = append(at, f[1])
		}
	}
	if err := lines.Err(); err != nil {
		w.Fatal(err)
	}
	return at
}

// killWasmrt kills a node's petrel-wasmrt, which the worker starts again. It answers how many there were: none while the
// worker is away, or has not yet.
func killWasmrt(w *world, node *lab.Node) int {
	w.Helper()
	killed, err := node.KillMatching(func(args []string) bool { return isWasmrt(args, "serve") })
	if err != nil {
		w.Fatal(err)
	}
	return killed
}
