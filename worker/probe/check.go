package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// maxBody is how much of a probe's answer is read, and maxReason how much of it is told.
	maxBody   = 10 << 10
	maxReason = 256
	// maxRedirects is how many redirects within the same host are followed.
	maxRedirects = 10
)

// Checker makes one check of the container at the address. Its error says what was wrong.
type Checker interface {
	Check(ctx context.Context, ip string, c *corev1.Container, p *corev1.Probe) error
}

// Network is the Checker that asks over the network.
type Network struct{ client *http.Client }

// NewNetwork makes a checker that opens a connection for each check, so that one that is kept alive never hides that
// the server takes no new ones.
func NewNetwork() *Network {
	return &Network{client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects || req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse // to elsewhere: the redirect itself is the answer
			}
			return nil
		},
	}}
}

// Check implements Checker.
func (n *Network) Check(ctx context.Context, ip string, c *corev1.Container, p *corev1.Probe) error {
	switch {
	case p.HTTPGet != nil:
		return n.http(ctx, ip, c, p.HTTPGet)
	case p.TCPSocket != nil:
		return tcp(ctx, ip, c, p.TCPSocket)
	default:
		return errors.New("probe has neither httpGet nor tcpSocket")
	}
}

func (n *Network) http(ctx context.Context, ip string, c *corev1.Container, get *corev1.HTTPGetAction) error {
	address, err := target(get.Host, ip, c, get.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if get.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	path := get.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "petrel-probe")
	for _, h := range get.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	answer, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d: %s", answer.StatusCode, body[:min(len(body), maxReason)])
	}
	return nil
}

func tcp(ctx context.Context, ip string, c *corev1.Container, socket *corev1.TCPSocketAction) error {
	address, err := target(socket.Host, ip, c, socket.Port)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func target(host, ip string, c *corev1.Container, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = ip
	}
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return "", fmt.Errorf("container %s has no port %s", c.Name, port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// Unsupported says why a probe of the container cannot be run here; empty when all can.
func Unsupported(c *corev1.Container) string {
	for kind, p := range probes(c) {
		if p == nil {
			continue
		}
		switch {
		case p.Exec != nil:
			return fmt.Sprintf("%s probe: exec needs a process to run in the container, which a Wasm guest has not: use httpGet or tcpSocket", kind)
		case p.GRPC != nil:
			return fmt.Sprintf("%s probe: grpc is not supported: use httpGet or tcpSocket", kind)
		}
	}
	return ""
}

func probes(c *corev1.Container) map[Kind]*corev1.Probe {
	return map[Kind]*corev1.Probe{Startup: c.StartupProbe, Readiness: c.ReadinessProbe, Liveness: c.LivenessProbe}
}
