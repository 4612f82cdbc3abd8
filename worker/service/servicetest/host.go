package servicetest

import (
	"maps"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
)

// Names of the node that is tried, and of one that is elsewhere.
const (
	NodeName  = "node-here"
	otherNode = "node-elsewhere"
)

// Host is a machine with a data path.
type Host struct {
	// Serve serves the API's Services as the node NodeName until the test ends, and host ports with what it answers.
	Serve func(t *testing.T, client kubernetes.Interface) *service.Server
	// VIPs is a /16 of the machine's own addresses that Services may have, VIPs6 as many of IPv6 as cases need;
	// empty where IPv6 cannot be tried.
	VIPs  netip.Prefix
	VIPs6 []netip.Addr
	// Node is the address of node ports, and of endpoints.
	Node netip.Addr
	// NodePorts is where the free node ports begin.
	NodePorts uint16
	// Grace is how long a connection goes on whose endpoint has gone: longer than a moment, and not much.
	Grace time.Duration
}

// patience bounds each wait, interval is between looks, and moment is how long something is watched that must not happen.
const (
	patience = 60 * time.Second
	interval = 2 * time.Millisecond
	moment   = 300 * time.Millisecond
)

// Run tries everything.
func Run(t *testing.T, host Host) {
	w := &world{host: host, client: feedtest.CopyWatches(fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName}}))}
	w.server = host.Serve(t, w.client)
	all := maps.Clone(cases)
	if len(host.VIPs6) > 0 {
		maps.Copy(all, cases6)
	}
	for name, try := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has Services, addresses and endpoints of its own
			try(t, w)
		})
	}
}

// world is the API and the machine.
type world struct {
	host   Host
	client kubernetes.Interface
	server *service.Server
	vips   atomic.Int32
	vips6  atomic.Int32
	ports  atomic.Int32
	names  atomic.Int32
}

// vip is an address that no other case uses.
func (w *world) vip() netip.Addr {
	base, n := w.host.VIPs.Addr().As4(), w.vips.Add(1)
	base[2], base[3] = byte(n>>8), byte(n)
	return netip.AddrFrom4(base)
}

func (w *world) vip6() netip.Addr { return w.host.VIPs6[w.vips6.Add(1)-1] }

func (w *world) nodePort() uint16 { return w.host.NodePorts + uint16(w.ports.Add(1)) }
