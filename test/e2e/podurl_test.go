package e2e

import (
	"fmt"
	"net"
	"strings"
)

// podURL is the URL of a pod's own address, which no gateway or service stands before.
func podURL(w *world, pod string) string {
	w.Helper()
	ip := strings.TrimSpace(w.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}"))
	if net.ParseIP(ip) == nil {
		w.Fatalf("pod %s has the address %q", pod, ip)
	}
	return fmt.Sprintf("http://%s/", net.JoinHostPort(ip, "8080"))
}
