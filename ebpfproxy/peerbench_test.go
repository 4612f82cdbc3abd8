package ebpfproxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peerServices is how many services there are in the tables of both sides.
const peerServices = 5_000

// peerBackend is where the backend listens: an address that is local as all of 10.0.0.0/8 is in these namespaces, because a
// kernel that rewrites packets has to have a route to a service's address first.
var peerBackend = netip.MustParseAddr("10.99.0.1")

// peerPlace is an arena with those addresses and a backend.
type peerPlace struct {
	*arena
	listener int
	backend  netip.AddrPort
	table    []Service
}

func newPeerPlace(b *testing.B) *peerPlace {
	b.Helper()
	p := &peerPlace{arena: newArena(b)}
	p.run("", "ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo")
	s := p.socket(unix.SOCK_STREAM, false)
	must(b, unix.Bind(s.fd, &unix.SockaddrInet4{Addr: peerBackend.As4()}))
	must(b, unix.Listen(s.fd, 128))
	sa, err := unix.Getsockname(s.fd)
	must(b, err)
	p.listener, p.backend = s.fd, addrPortOf(sa)
	b.Cleanup(func() { unix.Close(p.listener) })
	p.table = someServices(peerServices, Backend{Addr: p.backend.Addr(), Port: p.backend.Port()})
	return p
}

// run runs a command inside.
func (p *peerPlace) run(stdin string, name string, args ...string) {
	p.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		p.t.Skipf("needs %s: %v", name, err)
	}
	var out []byte
	var err error
	p.in(func() {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// connect times one connect().
func (p *peerPlace) connect(to netip.AddrPort) (took time.Duration) {
	p.in(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(p.t, err)
		took = connectOnce(p.t, fd, p.listener, to)
	})
	return took
}

// serveByProxy serves the table with this package.
func (p *peerPlace) serveByProxy() {
	mustSync(p.t, p.open(Config{Sizes: largeSizes}), p.table...)
}

var peerRules = map[string]func(p *peerPlace){
	"nft verdict map": func(p *peerPlace) {
		var b bytes.Buffer
		fmt.Fprintf(&b, "table ip nat {\n chain svc {\n meta l4proto tcp dnat to %s\n }\n map services { type ipv4_addr . inet_service : verdict\n elements = {", p.backend)
		for _, s := range p.table {
			fmt.Fprintf(&b, "%s . %d : goto svc,\n", s.Frontend.Addr, s.Frontend.Port)
		}
		b.WriteString("} }\n chain output { type nat hook output priority -100; ip protocol tcp ip daddr . tcp dport vmap @services\n }\n}\n")
		p.run(b.String(), "nft", "-f", "-")
	},
	"nft linear": func(p *peerPlace) {
		var b bytes.Buffer
		b.WriteString("table ip nat {\n chain output { type nat hook output priority -100;\n")
		for _, s := range p.table {
			fmt.Fprintf(&b, "ip daddr %s tcp dport %d dnat to %s\n", s.Frontend.Addr, s.Frontend.Port, p.backend)
		}
		b.WriteString("}\n}\n")
		p.run(b.String(), "nft", "-f", "-")
	},
	"iptables": func(p *peerPlace) {
		var b bytes.Buffer
		b.WriteString("*nat\n")
		for _, s := range p.table {
			fmt.Fprintf(&b, "-A OUTPUT -d %s/32 -p tcp --dport %d -j DNAT --to-destination %s\n", s.Frontend.Addr, s.Frontend.Port, p.backend)
		}
		b.WriteString("COMMIT\n")
		p.run(b.String(), "iptables-restore")
	},
}

// BenchmarkPeerConnect compares connect() to a service in the middle of the table with the same through the kernel's packet
// filters, in turns. "ratio" is ours ÷ theirs, by the medians; "theirs/bare" is what theirs costs.
func BenchmarkPeerConnect(b *testing.B) {
	for name, install := range peerRules {
		b.Run(name, func(b *testing.B) {
			ours, theirs, bare := newPeerPlace(b), newPeerPlace(b), newPeerPlace(b)
			ours.serveByProxy()
			install(theirs)
			at := ours.table[peerServices/2].at()
			peerCompare(b, func() time.Duration { return ours.connect(at) }, func() time.Duration { return theirs.connect(at) },
				func() time.Duration { return bare.connect(bare.backend) })
		})
	}
}

// peerCompare measures in turns.
func peerCompare(b *testing.B, ours, theirs, bare func() time.Duration) {
	ways := []struct {
		name  string
		once  func() time.Duration
		times []time.Duration
	}{{"ours", ours, nil}, {"theirs", theirs, nil}, {"bare", bare, nil}}
	b.ResetTimer()
	for n := range b.N {
		for i := range ways {
			w := &ways[(i+n)%len(ways)]
			w.times = append(w.times, w.once())
		}
	}
	b.StopTimer()
	median := map[string]float64{}
	for _, w := range ways {
		slices.Sort(w.times)
		median[w.name] = float64(w.times[len(w.times)/2])
		b.ReportMetric(median[w.name], w.name+"-ns")
	}
	b.ReportMetric(median["ours"]/median["theirs"], "ratio")
	b.ReportMetric(median["theirs"]/median["bare"], "theirs/bare")
	b.ReportMetric(median["ours"]/median["bare"], "ours/bare")
}

// answering serves HTTP behind the backend's address until the benchmark ends.
func (p *peerPlace) answering() {
	file := os.NewFile(uintptr(p.listener), "backend")
	l, err := net.FileListener(file)
	must(p.t, err)
	p.listener = -1
	must(p.t, file.Close())
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	p.t.Cleanup(func() { _ = server.Close(); <-done })
}

// ask times a request on a connection of its own.
func (p *peerPlace) ask(to netip.AddrPort) (took time.Duration) {
	p.in(func() {
		begun := time.Now()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(p.t, err)
		must(p.t, unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
		_, err = unix.Write(fd, []byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
		must(p.t, err)
		got := 0
		for buf := make([]byte, 4096); ; {
			n, err := unix.Read(fd, buf)
			must(p.t, err)
			if n == 0 {
				break
			}
			got += n
		}
		unix.Close(fd)
		took = time.Since(begun)
		if got < 50 {
			p.t.Errorf("an answer of %d bytes", got)
		}
	})
	return took
}

// through starts a program inside that passes 10.98.0.1:80 on to the backend, until the benchmark ends.
func (p *peerPlace) through(config string, args ...string) netip.AddrPort {
	p.t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		p.t.Skipf("needs %s: %v", args[0], err)
	}
	dir := p.t.TempDir()
	path := filepath.Join(dir, "config")
	must(p.t, os.WriteFile(path, []byte(strings.NewReplacer("BACKEND", p.backend.String(), "DIR", dir).Replace(config)), 0o600))
	cmd := exec.Command(args[0], append(args[1:], path)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var err error
	p.in(func() { err = cmd.Start() })
	must(p.t, err)
	p.t.Cleanup(func() { _ = cmd.Process.Signal(unix.SIGTERM); _ = cmd.Wait() })
	at := netip.MustParseAddrPort("10.98.0.1:80")
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p.in(func() {
			var fd int
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
				err = unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
				unix.Close(fd)
			}
		})
		if err == nil {
			return at
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not listen: %v\n%s", args[0], err, out.String())
		}
	}
}

const haproxyConfig = `global
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen service
  bind 10.98.0.1:80
  server backend BACKEND
`

const nginxConfig = `daemon off;
master_process off;
pid DIR/pid;
error_log DIR/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
  server { listen 10.98.0.1:80; location / { proxy_pass http://BACKEND; } }
}
`

// BenchmarkPeerHTTP compares requests on connections of their own: through a service and straight to its backend, and
// through programs that stand between. "ratio" is the rate through the service ÷ theirs.
func BenchmarkPeerHTTP(b *testing.B) {
	theirs := map[string]func(p *peerPlace) netip.AddrPort{
		"direct": func(p *peerPlace) netip.AddrPort { return p.backend },
		"haproxy": func(p *peerPlace) netip.AddrPort {
			return p.through(haproxyConfig, "haproxy", "-db", "-f")
		},
		"nginx": func(p *peerPlace) netip.AddrPort {
			return p.through(nginxConfig, "nginx", "-c")
		},
	}
	for name, start := range theirs {
		b.Run(name, func(b *testing.B) {
			ours, other := newPeerPlace(b), newPeerPlace(b)
			ours.answering()
			other.answering()
			ours.serveByProxy()
			to := start(other)
			at := ours.table[peerServices/2].at()
			var mine, others []float64
			for n := range b.N {
				for i := range 2 {
					if (i+n)%2 == 0 {
						mine = append(mine, float64(ours.ask(at)))
					} else {
						others = append(others, float64(other.ask(to)))
					}
				}
			}
			slices.Sort(mine)
			slices.Sort(others)
			b.ReportMetric(mine[len(mine)/2], "ours-ns")
			b.ReportMetric(others[len(others)/2], "theirs-ns")
			b.ReportMetric(others[len(others)/2]/mine[len(mine)/2], "ratio")
		})
	}
}
