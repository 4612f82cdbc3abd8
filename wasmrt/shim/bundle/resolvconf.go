package bundle

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxResolvConf bounds a resolv.conf; those of hosts have some hundred bytes.
const maxResolvConf = 64 << 10

// ReadDNS reads the resolv.conf that containerd made for a container. Without one there is no configuration.
func ReadDNS(path string) (*runtimev1.DNSConfig, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read resolv.conf: %w", err)
	}
	defer f.Close()
	return DecodeDNS(f)
}

// DecodeDNS reads resolv.conf(5): a later search line replaces an earlier one; what is unknown is read over.
func DecodeDNS(r io.Reader) (*runtimev1.DNSConfig, error) {
	dns := &runtimev1.DNSConfig{}
	lines := bufio.NewScanner(io.LimitReader(r, maxResolvConf))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			dns.Servers = append(dns.Servers, words[1])
		case "search", "domain":
			dns.Searches = words[1:]
		case "options":
			dns.Options = append(dns.Options, words[1:]...)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read resolv.conf: %w", err)
	}
	return dns, nil
}
