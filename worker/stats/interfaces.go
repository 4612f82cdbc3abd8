package stats

import (
	"strconv"
	"strings"
	"time"
)

// Interfaces are the network interfaces that lead out of the machine's namespace, that of the default route first.
func (h Host) Interfaces() []Interface {
	var out []Interface
	leads := h.defaultRoute()
	for line := range strings.Lines(h.text("/proc/net/dev")) {
		name, counts, ok := strings.Cut(line, ":")
		fields := strings.Fields(counts)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(fields) < 11 {
			continue
		}
		number := func(i int) uint64 {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			return n
		}
		one := Interface{Name: name, RxBytes: number(0), RxErrors: number(2), TxBytes: number(8), TxErrs: number(10)}
		if name == leads {
			out = append([]Interface{one}, out...)
			continue
		}
		out = append(out, one)
	}
	return out
}

// defaultRoute names the interface of the IPv4 route to everywhere.
func (h Host) defaultRoute() string {
	for line := range strings.Lines(h.text("/proc/net/route")) {
		fields := strings.Fields(line)
		if len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			return fields[0]
		}
	}
	return ""
}

// Boot is when the machine started.
func (h Host) Boot() time.Time { return time.Unix(int64(h.fields("/proc/stat")["btime"]), 0) }
