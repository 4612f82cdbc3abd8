package steering

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

const (
	// MaxAddresses bounds the addresses of one request; whoever has more sends several.
	MaxAddresses = 1024
	// maxPacket bounds a packet: the addresses of a request with their quotation marks, and its words.
	maxPacket = 96 << 10
	// maxText bounds what a server says of an error.
	maxText = 4 << 10
)

// What a client asks for.
const (
	opListen = "listen" // the addresses are the listener's that comes along
	opRemove = "remove" // the addresses are nobody's
	opSettle = "settle" // what has not been named on this connection is nobody's
)

// request is what a client says.
type request struct {
	Op        string           `json:"op"`
	Addresses []netip.AddrPort `json:"addresses,omitempty"`
}

func (r *request) validate() error {
	switch r.Op {
	case opListen, opRemove:
		if len(r.Addresses) == 0 || len(r.Addresses) > MaxAddresses {
			return fmt.Errorf("%d addresses: want 1 to %d", len(r.Addresses), MaxAddresses)
		}
	case opSettle:
		if len(r.Addresses) > 0 {
			return errors.New("settling takes no addresses")
		}
	default:
		return fmt.Errorf("unknown request %q", r.Op)
	}
	for _, at := range r.Addresses {
		if !at.IsValid() || at.Port() == 0 || at.Addr().Is4In6() || at.Addr().Zone() != "" {
			return fmt.Errorf("%s is no address and port to listen at", at)
		}
	}
	return nil
}

func decodeRequest(raw []byte) (*request, error) {
	r := &request{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return r, nil
}

// answer is what a server says: of a request that it did it, or why not; and first of all whether it steers.
type answer struct {
	Error string `json:"error,omitempty"`
}

// newAnswer cuts what is too long to be of use.
func newAnswer(err error) answer {
	if err == nil {
		return answer{}
	}
	text := err.Error()
	return answer{Error: text[:min(len(text), maxText)]}
}
