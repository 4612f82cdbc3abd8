package dns

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/worker/dns/resolvconf"
)

// hostConfig is the host's resolv.conf as it was read last.
type hostConfig struct {
	config atomic.Pointer[resolvconf.Config]
	text   string // as it was read; of the one goroutine that reads
	failed bool
}

// Host is what the host's resolv.conf says.
func (s *Server) Host() resolvconf.Config {
	if c := s.host.config.Load(); c != nil {
		return *c
	}
	return resolvconf.Config{}
}

// keepReloaded follows changes of resolv.conf, and of the addresses that this server itself has: it never asks itself.
func (s *Server) keepReloaded(ctx context.Context) {
	ticker := time.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.reload()
		}
	}
}

// reload is called by one goroutine at a time. A file that cannot be read changes nothing.
func (s *Server) reload() {
	text, err := os.ReadFile(s.cfg.ResolvConf)
	if err != nil {
		if !s.host.failed {
			s.cfg.Logger.Warn("resolv.conf cannot be read", "file", s.cfg.ResolvConf, "error", err)
		}
		s.host.failed = true
	} else if s.host.failed = false; s.host.config.Load() == nil || string(text) != s.host.text {
		s.host.text = string(text)
		config := resolvconf.Parse(text)
		s.host.config.Store(&config)
	}
	servers := s.upstreams()
	if !s.forwarder.pool.set(servers) {
		return
	}
	if len(servers) == 0 {
		s.cfg.Logger.Warn("there is no dns server to ask: only the cluster's names are resolved", "file", s.cfg.ResolvConf)
		return
	}
	s.cfg.Logger.Info("dns servers to ask", "servers", servers)
}

func (s *Server) upstreams() []netip.AddrPort {
	servers := slices.Clone(s.cfg.Upstreams)
	if len(servers) == 0 {
		for _, text := range s.Host().Servers {
			if a, err := resolvconf.Address(text); err == nil {
				servers = append(servers, a)
			}
		}
	}
	own := append(s.doors.wanted(), s.doors.open()...)
	return slices.DeleteFunc(servers, func(a netip.AddrPort) bool { return slices.Contains(own, a) })
}
