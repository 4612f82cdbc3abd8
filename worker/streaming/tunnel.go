package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
	tunneled "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/tools/portforward"
)

// tunnel carries the SPDY frames of a port-forward in WebSocket messages to the client, and plain to the runtime.
func (y *Relay) tunnel(w http.ResponseWriter, r *http.Request, t *target) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	runtime, err := y.upgrade(ctx, r, t)
	if err != nil {
		return err
	}
	defer runtime.Close()
	chosen := runtime.protocol
	if chosen != "" {
		chosen = tunneled.WebsocketsSPDYTunnelingPrefix + chosen
	}
	socket := websocket.Upgrader{
		Subprotocols: []string{chosen},
		CheckOrigin:  func(*http.Request) bool { return true }, // the node's server has let nobody in who has one
	}
	accepted, err := socket.Upgrade(w, r, nil)
	if err != nil {
		y.log.Debug("websocket was not opened", "error", err)
		return nil // the library has answered
	}
	client := portforward.NewTunnelingConnection("petrel", accepted)
	defer client.Close()
	// Each side's end ends the other's.
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = runtime.Close()
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		_, _ = io.Copy(runtime, client)
	}()
	_, _ = io.Copy(client, runtime)
	cancel()
	<-done
	return nil
}

// upgraded is a connection to a runtime's stream server that speaks SPDY.
type upgraded struct {
	io.ReadWriteCloser
	protocol string // what the server chose of the client's
}

// upgrade asks the runtime's server for SPDY with the protocols that the client would tunnel.
func (y *Relay) upgrade(ctx context.Context, r *http.Request, t *target) (*upgraded, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the runtime's stream server: %w", err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "SPDY/3.1")
	for _, offered := range websocket.Subprotocols(r) {
		if protocol, ok := strings.CutPrefix(offered, tunneled.WebsocketsSPDYTunnelingPrefix); ok {
			req.Header.Add("X-Stream-Protocol-Version", protocol)
		}
	}
	resp, err := t.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the runtime's stream server: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		_ = resp.Body.Close()
		return nil, errors.New("ask the runtime's stream server: the connection cannot be written to")
	}
	return &upgraded{ReadWriteCloser: conn, protocol: resp.Header.Get("X-Stream-Protocol-Version")}, nil
}
