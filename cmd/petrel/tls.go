package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/petrelrun/petrel/cmd/petrel/client"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/controlplane/pki"
)

const (
	// servingLife is how long the API's serving certificate lasts, and peerLife the certificates that the control
	// plane shows to nodes and to itself. They are renewed in memory, so their life only bounds what a stolen one is
	// worth.
	servingLife = 90 * 24 * time.Hour
	peerLife    = 24 * time.Hour
	// kubeconfigLook is how often the administrator's kubeconfig is looked at.
	kubeconfigLook = time.Hour

	kubeconfigFile = "admin.kubeconfig"
)

// tlsFlags say how the API is served over TLS.
type tlsFlags struct {
	Always      bool
	SANs        []string
	TokenFile   string
	SigningLife time.Duration
}

func (o *tlsFlags) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.Always, "tls", false, "serve TLS, and ask for credentials, on a loopback address too; beyond loopback nothing else is served")
	f.StringSliceVar(&o.SANs, "tls-san", nil, "further names or addresses that the API is reached by, for its certificate (may be repeated)")
	f.StringVar(&o.TokenFile, "token-auth-file", "", "file of bearer tokens, one a line: token,user,uid,\"group,group\"; read again when it changes")
	f.DurationVar(&o.SigningLife, "cluster-signing-duration", join.DefaultLife, "longest life of certificates that nodes are given")
}

// wanted tells whether the API at the address is to speak TLS.
func (o *tlsFlags) wanted(listen string) (bool, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false, fmt.Errorf("--listen %q: %w", listen, err)
	}
	secure := o.Always || host == "" || !auth.IsLoopbackHost(host)
	if !secure && (len(o.SANs) > 0 || o.TokenFile != "") {
		return false, errors.New("--tls-san and --token-auth-file are for an API that speaks TLS: add --tls, or listen beyond loopback")
	}
	return secure, nil
}

// security is what an API that speaks TLS needs beside its rooms.
type security struct {
	cluster, nodes *pki.Authority
	serving        *pki.Renewing // shown to clients
	toNodes        *pki.Renewing // shown to nodes
	self           *pki.Renewing // shown to the API by the control plane itself
	tokens         []auth.Tokens
	url            string // of the API, for clients elsewhere
	dir            string // data directory
	log            *slog.Logger
}

// openSecurity opens the authorities, or makes them, and what is signed by them. service is the API's cluster IP.
func openSecurity(ctx context.Context, cfg controlPlaneConfig, service netip.Addr) (*security, error) {
	s := &security{dir: cfg.DataDir, log: cfg.Logger.With("room", "tls")}
	keeper := pki.Dir(filepath.Join(cfg.DataDir, client.TLSDir))
	var err error
	if s.cluster, err = pki.Open(ctx, keeper, pki.ClusterCA, "petrel", time.Now()); err != nil {
		return nil, err
	}
	if s.nodes, err = pki.Open(ctx, keeper, pki.NodesCA, "petrel", time.Now()); err != nil {
		return nil, err
	}
	if cfg.TLS.TokenFile != "" {
		file, err := auth.OpenTokenFile(cfg.TLS.TokenFile, s.log)
		if err != nil {
			return nil, err
		}
		s.tokens = append(s.tokens, file)
	}
	names, addresses, err := apiNames(cfg, service)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, err
	}
	s.url = "https://" + net.JoinHostPort(cfg.Addresses.Advertise.String(), port)
	for _, r := range []struct {
		to *(*pki.Renewing)
		pki.Request
	}{
		{&s.serving, pki.Request{CommonName: "petrel-apiserver", DNSNames: names, Addresses: addresses, Usage: pki.Serving, Life: servingLife}},
		{&s.toNodes, pki.Request{CommonName: "petrel-apiserver", Organization: []string{auth.GroupAPIServers}, Usage: pki.Client, Life: peerLife}},
		{&s.self, pki.Request{CommonName: "petrel:controlplane", Organization: []string{auth.GroupMasters}, Usage: pki.Client, Life: peerLife}},
	} {
		if *r.to, err = pki.NewRenewing(s.cluster, r.Request, time.Now); err != nil {
			return nil, err
		}
	}
	return s, s.writeKubeconfig(time.Now())
}

// apiNames are what the API is reached by: as Kubernetes' Service, by the addresses of this machine that it listens
// on, and by what the flags add.
func apiNames(cfg controlPlaneConfig, service netip.Addr) (names []string, addresses []netip.Addr, err error) {
	names = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	addresses = []netip.Addr{service, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback(), cfg.Addresses.Advertise}
	listening, err := listenAddresses(cfg.Listen)
	if err != nil {
		return nil, nil, err
	}
	addresses = append(addresses, listening...)
	for _, san := range cfg.TLS.SANs {
		if addr, err := netip.ParseAddr(san); err == nil {
			addresses = append(addresses, addr)
		} else {
			names = append(names, san)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return names, slices.Compact(addresses), nil
}

// listenAddresses are the addresses that listening on an address leads to.
func listenAddresses(listen string) ([]netip.Addr, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %q: %w", listen, err)
	}
	if host != "" {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return nil, nil // a name, such as localhost
		}
		if !addr.IsUnspecified() {
			return []netip.Addr{addr.Unmap()}, nil
		}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses of this machine: %w", err)
	}
	var out []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			out = append(out, prefix.Addr().Unmap())
		}
	}
	return out, nil
}

// advertised is the address by which the cluster reaches the API where no flag says so: the one that is listened on,
// or the machine's first.
func advertised(listen string) (netip.Addr, error) {
	addresses, err := listenAddresses(listen)
	if err != nil {
		return netip.Addr{}, err
	}
	host, _, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return netip.Addr{}, err
	case len(addresses) > 0:
		return addresses[0], nil
	case auth.IsLoopbackHost(host):
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	return netip.Addr{}, fmt.Errorf("this machine has no address that others reach it by: give one with --advertise-address")
}

// own is the way of the control plane to its own API. Connections are not kept: they would outlive the certificates
// that they were opened with.
func (s *security) own() http.RoundTripper {
	return &http.Transport{TLSClientConfig: s.self.Client(s.cluster.Pool()), DisableKeepAlives: true}
}

// serverTLS is for the API server, nodesTLS for its way to the nodes.
func (s *security) serverTLS() *tls.Config { return s.serving.Server() }
func (s *security) nodesTLS() *tls.Config  { return s.toNodes.Client(s.nodes.Pool()) }

// Run keeps the administrator's kubeconfig usable until ctx ends.
func (s *security) Run(ctx context.Context) error {
	due := func(now time.Time) time.Time { return now.Add(client.DefaultLoginLife * 2 / 3) }
	next := due(time.Now())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(kubeconfigLook):
		}
		if now := time.Now(); now.After(next) {
			if err := s.writeKubeconfig(now); err != nil {
				s.log.Error("the administrator's kubeconfig is not renewed", "error", err)
				continue
			}
			next = due(now)
		}
	}
}

// writeKubeconfig replaces the kubeconfig in one step: a reader sees all of it or the one before.
func (s *security) writeKubeconfig(now time.Time) error {
	login := client.Login{Server: s.url, Namespace: "default"}
	if err := login.Sign(s.cluster, auth.AdminName, []string{auth.GroupMasters}, client.DefaultLoginLife, now); err != nil {
		return err
	}
	data, err := yaml.Marshal(client.Kubeconfig(login))
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	tmp, err := os.CreateTemp(s.dir, ".kubeconfig-") // 0600
	if err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(s.dir, kubeconfigFile))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write kubeconfig: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}
