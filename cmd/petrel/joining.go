package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
	"github.com/petrelrun/petrel/worker/identity"
)

// maxTokenText bounds what is read of a token's file.
const maxTokenText = 4 << 10

// joinFlags are what a machine joins with. Once it has joined it needs none of it.
type joinFlags struct {
	Token     string
	TokenFile string
}

func (o *joinFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Token, "token", "", "token to join with, as petrel token create prints it; other users of this machine can see it while this runs: prefer --token-file")
	f.StringVar(&o.TokenFile, "token-file", "", "file with the token to join with; - is standard input")
}

// read answers the token that is given, if one is.
func (o *joinFlags) read(stdin io.Reader) (token jointoken.Token, given bool, err error) {
	text := o.Token
	switch {
	case o.Token != "" && o.TokenFile != "":
		return token, false, errors.New("give --token or --token-file, not both")
	case o.TokenFile != "":
		if text, err = readToken(o.TokenFile, stdin); err != nil {
			return token, false, fmt.Errorf("--token-file: %w", err)
		}
	case o.Token == "":
		return token, false, nil
	}
	token, err = jointoken.Parse(text)
	return token, err == nil, err
}

func readToken(path string, stdin io.Reader) (string, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxTokenText))
	return string(data), err
}

// joinCluster makes the machine the node that the flags say, where the server speaks TLS. A server that does not is on
// this machine's loopback, and wants to know nothing; the identity is nil then.
func joinCluster(ctx context.Context, o *workerOptions, dir string, stdin io.Reader, logger *slog.Logger) (*identity.Identity, error) {
	token, given, err := o.Join.read(stdin)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(o.Server)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("--server %s is no URL", o.Server)
	}
	if u.Scheme != "https" {
		switch {
		case !auth.IsLoopbackHost(u.Host):
			return nil, fmt.Errorf("--server %s is in the clear: machines join over TLS only; give https:// and a token", o.Server)
		case given:
			return nil, fmt.Errorf("--server %s is in the clear: a token is not sent there; give https://", o.Server)
		}
		return nil, nil
	}
	if o.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("name this node: %w; give --node-name", err)
		}
		o.NodeName = strings.ToLower(host)
	}
	cfg := identity.Config{Server: strings.TrimSuffix(o.Server, "/"), NodeName: o.NodeName, Dir: dir, Logger: logger.With("room", "identity")}
	if given {
		cfg.CAHash, cfg.Token = token.CAHash, token.Bootstrap.String()
	}
	me, err := identity.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := me.Open(ctx); err != nil {
		return nil, err
	}
	return me, nil
}

// addressTowards is this machine's address on the way to a server beyond loopback, by which others reach the node
// where no flag says. Nothing is sent: the kernel is asked for the route.
func addressTowards(server string) ([]netip.Addr, error) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" || auth.IsLoopbackHost(u.Host) {
		return nil, nil
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("find this machine's address towards %s: %w; give one with --node-ip", server, err)
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || local.AddrPort().Addr().Unmap().IsLoopback() {
		return nil, nil // the server is on this machine
	}
	return []netip.Addr{local.AddrPort().Addr().Unmap()}, nil
}
