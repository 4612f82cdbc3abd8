package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Target is the running container that is checked.
type Target struct {
	// Container is its spec, ID its instance in the runtime, IP the pod's address.
	Container *corev1.Container
	ID, IP    string
}

// unknown is why a check could not be made: it says nothing about the container. A runtime that is away must not cost a
// container its life.
type unknown struct{ error }

func (u unknown) Unwrap() error { return u.error }

// Checker makes one check of a container. Its error says what was wrong.
type Checker interface {
	Check(ctx context.Context, t Target, p *corev1.Probe) error
}

// Actions carries out what specs ask of a container: the checks of probes, and the hooks.
type Actions struct {
	network *network
	exec    Executor
}

// NewActions makes them with what runs commands in containers.
func NewActions(exec Executor) *Actions { return &Actions{network: newNetwork(), exec: exec} }

var _ Checker = (*Actions)(nil)

// Check implements Checker.
func (a *Actions) Check(ctx context.Context, t Target, p *corev1.Probe) error {
	switch {
	case p.HTTPGet != nil:
		return a.network.http(ctx, t, p.HTTPGet, "HTTP probe")
	case p.TCPSocket != nil:
		return tcp(ctx, t, p.TCPSocket)
	case p.GRPC != nil:
		return checkGRPC(ctx, t, p.GRPC)
	case p.Exec != nil:
		return run(ctx, a.exec, t, p.Exec, settingsOf(p).timeout)
	default:
		return errors.New("probe has neither httpGet nor tcpSocket, grpc or exec")
	}
}

func tcp(ctx context.Context, t Target, socket *corev1.TCPSocketAction) error {
	address, err := t.address(socket.Host, socket.Port)
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

// address is where a port of the container is, which may be named.
func (t Target) address(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = t.IP
	}
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range t.Container.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return "", unknown{fmt.Errorf("container %s has no port %s", t.Container.Name, port.String())}
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}
