package client

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

var _ Policy = (*egress.Policy)(nil)

// TestGrants holds the real policy against a real server.
func TestGrants(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for name, tt := range map[string]struct {
		grants []string
		code   int32
	}{
		"none":            {nil, wire.ErrDenied},
		"another scheme":  {[]string{"https:127.0.0.1"}, wire.ErrDenied},
		"all of the host": {[]string{"tcp:127.0.0.0/8:*"}, 0},
		"everything":      {[]string{"*"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := egress.Parse(tt.grants)
			if err != nil {
				t.Fatal(err)
			}
			c := New(policy)
			s := c.Session(t.Context())
			defer func() {
				s.Close()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}()
			handle := s.open4test(wire.RequestHead{Method: "GET", URI: server.URL})
			if handle != tt.code {
				t.Fatalf("open = %d, want %d", handle, tt.code)
			}
			if handle == 0 {
				if head := readHead(t, s, handle); head.Status != 404 {
					t.Errorf("head %+v", head)
				}
			}
		})
	}
	var none *egress.Policy
	c := New(none)
	s := c.Session(t.Context())
	if code := s.open4test(wire.RequestHead{Method: "GET", URI: server.URL}); code != wire.ErrDenied {
		t.Errorf("a nil policy: %d", code)
	}
	s.Close()
}
