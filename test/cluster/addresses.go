package cluster

import (
	"errors"
	"fmt"
	"net"
)

// Addresses are the networks of one cluster, all on loopback.
type Addresses struct {
	Pods, Services string
	claim          net.Listener
}

// The second bytes of 127.x.0.0/16 that clusters take two at a time. 42 and 43 are left to a developer's own
// `petrel up`, which may be running beside the tests.
const (
	firstNetwork = 44
	lastNetwork  = 200
)

// claimAddresses takes two networks that no other test process has. An abstract socket is the claim: the kernel lets
// one process have it and drops it when that process ends, however it ends.
func claimAddresses() (*Addresses, error) {
	for n := firstNetwork; n < lastNetwork; n += 2 {
		claim, err := net.Listen("unix", fmt.Sprintf("@petrel-test-network-%d", n))
		if err != nil {
			continue
		}
		return &Addresses{
			Pods:     fmt.Sprintf("127.%d.0.0/16", n),
			Services: fmt.Sprintf("127.%d.0.0/16", n+1),
			claim:    claim,
		}, nil
	}
	return nil, errors.New("claim addresses: every loopback network is taken")
}

func (a *Addresses) release() { _ = a.claim.Close() }

// Host answers an address in the pod network that no pod gets, for a server of the test's own.
func (a *Addresses) Host(last byte) string {
	ip, _, err := net.ParseCIDR(a.Pods)
	if err != nil {
		panic(err) // Pods was made above
	}
	ip = ip.To4()
	return net.IPv4(ip[0], ip[1], 255, last).String()
}
