package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
)

// many is how many Services there are, each with two endpoints.
const many = 10_000

// signalling tells of each time that the kernel has taken something.
type signalling struct {
	Proxy
	done chan struct{}
}

func (s *signalling) Sync(ctx context.Context, all []ebpfproxy.Service) error {
	err := s.Proxy.Sync(ctx, all)
	s.done <- struct{}{}
	return err
}

func (s *signalling) Update(ctx context.Context, set []ebpfproxy.Service, gone []ebpfproxy.Frontend) error {
	err := s.Proxy.Update(ctx, set, gone)
	s.done <- struct{}{}
	return err
}

// benchPath runs a path without pins until the benchmark ends.
func benchPath(b *testing.B) (*Path, <-chan struct{}, func()) {
	b.Helper()
	_, proxy := newKernel(b, "")
	to := &signalling{proxy, make(chan struct{}, 16)}
	path, err := New(Config{Proxy: to, Logger: discard, Addresses: func() ([]netip.Addr, error) { return nil, nil }})
	if err != nil {
		b.Fatal(err)
	}
	if err := path.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- path.Run(ctx) }()
	return path, to.done, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

func numbered(base byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, base + byte(i>>16), byte(i >> 8), byte(i)})
}

// service n has endpoints 2n and 2n+1, or others when it is changed.
func apiService(n int) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprintf("svc-%d", n)},
		Spec: corev1.ServiceSpec{
			ClusterIPs: []string{numbered(96, n).String()}, Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
}

func apiSlice(endpoints ...int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](8080)}},
	}
	for _, e := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{numbered(200, e).String()}})
	}
	return slice
}

func compiled(n int, endpoints ...int) service.Service {
	return service.Compile(apiService(n), []*discoveryv1.EndpointSlice{apiSlice(endpoints...)}, service.Place{Node: "node"})
}

// nft runs a script, as kube-proxy's mode nftables does for every change.
func nft(b *testing.B, script string) {
	b.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("nft: %v: %s", err, out)
	}
}

// nftService is what kube-proxy's mode nftables has for a Service: a chain of its own that picks an endpoint's chain, and an
// element of one map for all.
func nftService(n int, endpoints ...int) string {
	var s strings.Builder
	var picks []string
	for i, e := range endpoints {
		fmt.Fprintf(&s, "add chain ip bench ep-%d\nflush chain ip bench ep-%d\nadd rule ip bench ep-%d meta l4proto tcp dnat to %s:8080\n", e, e, e, numbered(200, e))
		picks = append(picks, fmt.Sprintf("%d : goto ep-%d", i, e))
	}
	fmt.Fprintf(&s, "add chain ip bench svc-%d\nflush chain ip bench svc-%d\n", n, n)
	fmt.Fprintf(&s, "add rule ip bench svc-%d numgen random mod %d vmap { %s }\n", n, len(endpoints), strings.Join(picks, ", "))
	return s.String()
}

func nftEverything() string {
	var s strings.Builder
	s.WriteString("add table ip bench\ndelete table ip bench\nadd table ip bench\nadd map ip bench services { type ipv4_addr . inet_proto . inet_service : verdict ; }\n")
	var elements []string
	for n := range many {
		s.WriteString(nftService(n, 2*n, 2*n+1))
		elements = append(elements, fmt.Sprintf("%s . tcp . 80 : goto svc-%d", numbered(96, n), n))
	}
	fmt.Fprintf(&s, "add element ip bench services { %s }\n", strings.Join(elements, ", "))
	s.WriteString("add chain ip bench output { type nat hook output priority -100 ; }\nadd rule ip bench output ip daddr . meta l4proto . th dport vmap @services\n")
	return s.String()
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkLoad puts 10,000 compiled Services into an empty kernel, and as many, once, into nftables: that takes a while.
func BenchmarkLoad(b *testing.B) {
	insideOrSkip(b)
	all := make([]service.Service, many)
	for n := range all {
		all[n] = compiled(n, 2*n, 2*n+1)
	}
	var ours, theirs []time.Duration
	for b.Loop() {
		path, done, end := benchPath(b)
		began := time.Now()
		for n := range all {
			path.Apply(all[n])
		}
		path.Settled()
		<-done
		ours = append(ours, time.Since(began))
		end()
	}
	if _, err := exec.LookPath("nft"); err == nil {
		script := nftEverything()
		began := time.Now()
		nft(b, script)
		theirs = append(theirs, time.Since(began))
		nft(b, "delete table ip bench\n")
	}
	report(b, ours, theirs)
}

// BenchmarkEndpointChange goes from an EndpointSlice in hand to the kernel's tables, with 10,000 Services in them.
func BenchmarkEndpointChange(b *testing.B) {
	insideOrSkip(b)
	_, peer := exec.LookPath("nft")
	path, done, end := benchPath(b)
	defer end()
	for n := range many {
		path.Apply(compiled(n, 2*n, 2*n+1))
	}
	path.Settled()
	<-done
	if peer == nil {
		nft(b, nftEverything())
		defer nft(b, "delete table ip bench\n")
	}
	var ours, theirs []time.Duration
	next := 2 * many
	for b.Loop() {
		n := next % many
		began := time.Now()
		path.Apply(compiled(n, 2*n, next))
		<-done
		ours = append(ours, time.Since(began))
		if peer == nil {
			began = time.Now()
			nft(b, nftService(n, 2*n, next))
			theirs = append(theirs, time.Since(began))
		}
		next++
	}
	report(b, ours, theirs)
}

func report(b *testing.B, ours, theirs []time.Duration) {
	b.Helper()
	b.ReportMetric(float64(median(ours).Microseconds()), "ebpf-us")
	if len(theirs) == 0 {
		b.Log("nft is not installed: there is no peer to compare with")
		return
	}
	b.ReportMetric(float64(median(theirs).Microseconds()), "nft-us")
	b.ReportMetric(float64(median(theirs))/float64(median(ours)), "nft/ebpf")
}
