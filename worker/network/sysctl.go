package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sysctl is one setting below /proc/sys/net, with slashes.
type sysctl struct {
	path, value string
	why         string
}

const sysctlRoot = "/proc/sys/net"

// sysctls4 and sysctls6 are what routing pods' packets needs of the machine.
var (
	sysctls4 = []sysctl{
		{"ipv4/ip_forward", "1", "packets of containers and of other nodes' pods are routed"},
		{"ipv4/ip_nonlocal_bind", "1", "the runtime binds pods' addresses, which no interface carries"},
	}
	sysctls6 = []sysctl{
		{"ipv6/conf/all/forwarding", "1", "packets of containers and of other nodes' pods are routed"},
		{"ipv6/ip_nonlocal_bind", "1", "the runtime binds pods' addresses, which no interface carries"},
	}
)

// readSysctl reads a setting; "" where the kernel does not have it.
func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, path))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// setSysctl makes a setting. It tells the old value when there was another.
func setSysctl(s sysctl) (old string, err error) {
	have, err := readSysctl(s.path)
	if err != nil {
		return "", fmt.Errorf("read sysctl net/%s: %w", s.path, err)
	}
	if have == s.value {
		return "", nil
	}
	if err := os.WriteFile(filepath.Join(sysctlRoot, s.path), []byte(s.value), 0o644); err != nil {
		return "", fmt.Errorf("set sysctl net/%s to %s: %w", s.path, s.value, err)
	}
	return have, nil
}

// keepRouterAdvertisements has interfaces that take routes from router advertisements go on doing so: without this, a
// machine that begins to forward loses its IPv6 default route some minutes later.
func keepRouterAdvertisements() ([]sysctl, error) {
	dirs, err := os.ReadDir(filepath.Join(sysctlRoot, "ipv6/conf"))
	if err != nil {
		return nil, fmt.Errorf("list IPv6 interfaces: %w", err)
	}
	var out []sysctl
	for _, d := range dirs {
		path := "ipv6/conf/" + d.Name() + "/accept_ra"
		if strings.HasPrefix(d.Name(), vethPrefix) || slices.Contains([]string{"all", "default", "lo"}, d.Name()) {
			continue
		}
		if have, err := readSysctl(path); err == nil && have == "1" {
			out = append(out, sysctl{path, "2", "router advertisements are taken though the machine forwards"})
		}
	}
	return out, nil
}

// loosenFilter is what lets answers come in by an interface that the machine itself would not take to get there: strict
// reverse path filtering asks for more than routing between nodes can promise.
func loosenFilter(iface string) (s sysctl, needed bool) {
	path := "ipv4/conf/" + iface + "/rp_filter"
	all, _ := readSysctl("ipv4/conf/all/rp_filter")
	own, _ := readSysctl(path)
	s = sysctl{path, "2", "strict reverse path filtering drops packets between nodes"}
	return s, own != "2" && (all == "1" || own == "1") && all != "2"
}

// mendSysctls makes the settings that routing needs and tells of each that it changed.
func (n *Network) mendSysctls(p *plan) error {
	return n.space.run(func() error {
		var errs []error
		want := []sysctl{}
		if p.family(false) {
			want = append(want, sysctls4...)
		}
		if p.family(true) {
			if have, _ := readSysctl("ipv6/conf/all/forwarding"); have == "0" {
				ra, err := keepRouterAdvertisements()
				errs, want = append(errs, err), append(want, ra...)
			}
			want = append(want, sysctls6...)
		}
		for _, name := range p.uplinks() {
			if s, needed := loosenFilter(name); needed {
				want = append(want, s)
			}
		}
		for _, s := range want {
			old, err := setSysctl(s)
			if err != nil {
				errs = append(errs, err)
			} else if old != "" {
				n.cfg.Logger.Info("changed a setting of the machine", "sysctl", "net/"+s.path, "from", old, "to", s.value, "why", s.why)
			}
		}
		return errors.Join(errs...)
	})
}
