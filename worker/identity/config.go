package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"
)

const (
	// dialTimeout bounds opening a connection with its handshake, callTimeout one call to the API.
	dialTimeout = 10 * time.Second
	callTimeout = 15 * time.Second
	// reachPatience is how long a server that does not answer is tried: both may be starting.
	reachPatience = 30 * time.Second
	// decidePatience is how long a request may wait for its certificate; it is a moment unless a person has to approve.
	decidePatience = 2 * time.Minute
	// pollFirst and pollLast bound the pause between two looks for a certificate; it doubles in between.
	pollFirst = 50 * time.Millisecond
	pollLast  = 2 * time.Second
	// maxSkew is how far this machine's clock may be from the server's: certificates begin five minutes in the past.
	maxSkew = 4 * time.Minute

	// renewLook is how often the certificates are looked at: timers stand still while a machine sleeps, clocks do not.
	renewLook = time.Minute
	// renewRetryFirst and renewRetryLast bound the pause before a renewal that failed is tried again.
	renewRetryFirst = time.Second
	renewRetryLast  = 5 * time.Minute
	// jitterShare spreads renewals over a tenth of the certificates' life, so that nodes that joined together do not
	// come together.
	jitterShare = 10

	// maxFile bounds what is read of a file.
	maxFile = 64 << 10
)

// Config says which cluster, and as whom.
type Config struct {
	// Server is the URL of the API: https://HOST:PORT.
	Server string
	// NodeName is the node's name.
	NodeName string
	// Dir keeps the certificates.
	Dir string
	// CAHash and Token are those of a join token: the hash of the authority's public key in hexadecimal, and the
	// bearer token. Both may be empty once the node has joined.
	CAHash, Token string
	// Logger; nil: nothing is logged.
	Logger *slog.Logger
	// Now tells the time; nil: time.Now.
	Now func() time.Time
}

// Validate names the first thing that is wrong.
func (c *Config) Validate() error {
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/":
		return fmt.Errorf("server %q: want https://HOST:PORT", c.Server)
	case c.NodeName == "":
		return errors.New("a node needs a name")
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("directory of certificates %q: want an absolute path", c.Dir)
	case (c.CAHash == "") != (c.Token == ""):
		return errors.New("the token and the hash of the authority come together")
	}
	if _, err := netip.ParseAddr(c.NodeName); err == nil {
		return fmt.Errorf("the node's name %q is an address: choose a name with --node-name", c.NodeName)
	}
	if raw, err := hex.DecodeString(c.CAHash); err != nil || c.CAHash != "" && len(raw) != 32 {
		return errors.New("the hash of the authority must be a SHA-256 in hexadecimal")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}
