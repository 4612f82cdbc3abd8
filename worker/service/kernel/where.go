package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// defaultPinRoot is where Linux systems mount the bpf file system.
const defaultPinRoot = "/sys/fs/bpf"

// ethernetLen is the length of an Ethernet address.
const ethernetLen = 6

// podInterfaces begin the names of interfaces that lead to pods of this node, whose sockets find Services by
// themselves.
var podInterfaces = []string{"veth", "cali", "lxc", "cni", "docker", "br-", "ptl"}

// cgroupRoots are where systems mount the cgroup2 file system, alone and beside the first version.
var cgroupRoots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// CgroupRoot finds where the cgroup2 file system is mounted: at a usual place, else wherever it is.
func CgroupRoot() (string, error) {
	for _, dir := range cgroupRoots {
		if isMounted(dir, unix.CGROUP2_SUPER_MAGIC) {
			return dir, nil
		}
	}
	return mountOf("cgroup2")
}

// PinRoot is where the bpf file system is mounted for everybody. One that is mounted elsewhere is somebody's own, and may
// go.
func PinRoot() (string, error) {
	if isMounted(defaultPinRoot, unix.BPF_FS_MAGIC) {
		return defaultPinRoot, nil
	}
	return "", fmt.Errorf("%w: no file system bpf is mounted at %s", ebpfproxy.ErrUnsupported, defaultPinRoot)
}

func isMounted(dir string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && int64(st.Type) == magic
}

func mountOf(kind string) (string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("%w: find file system %s: %w", ebpfproxy.ErrUnsupported, kind, err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if at, ok := mountPoint(lines.Text(), kind); ok {
			return at, nil
		}
	}
	return "", errors.Join(lines.Err(), fmt.Errorf("%w: no file system %s is mounted", ebpfproxy.ErrUnsupported, kind))
}

// mountPoint reads a line of /proc/self/mountinfo: "id parent device root point options [tags] - kind source options".
func mountPoint(line, kind string) (string, bool) {
	front, back, ok := strings.Cut(line, " - ")
	if !ok || !strings.HasPrefix(back, kind+" ") {
		return "", false
	}
	fields := strings.Fields(front)
	if len(fields) < 5 || fields[3] != "/" {
		return "", false
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[4]), true
}

// NodeAddresses lists the machine's addresses, those within prefixes where any are given, as kube-proxy's
// --nodeport-addresses does. Addresses that mean something on one link alone are none.
func NodeAddresses(prefixes []netip.Prefix) ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list interface addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		within := len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
		if within && !ip.IsLinkLocalUnicast() && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out, nil
}

// ExternalInterfaces lists the interfaces at which clients from outside may come in: those that are up, carry Ethernet
// frames and do not lead to pods.
func ExternalInterfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []string
	for _, i := range all {
		pods := slices.ContainsFunc(podInterfaces, func(prefix string) bool { return strings.HasPrefix(i.Name, prefix) })
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && len(i.HardwareAddr) == ethernetLen && !pods {
			out = append(out, i.Name)
		}
	}
	return out, nil
}
