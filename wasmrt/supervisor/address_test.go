package supervisor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
)

func TestAddressesAreGivenInTurn(t *testing.T) {
	a := newAddresses(netip.MustParsePrefix("10.0.0.5/29"))
	take := func(want, id string) string {
		addr, err := a.take(want, id)
		if err != nil {
			return status.Code(err).String()
		}
		return addr
	}
	var got []string
	for i := range 3 {
		got = append(got, take("", fmt.Sprint(i)))
	}
	a.release("10.0.0.2", "another") // it is not its own
	a.release("10.0.0.2", "1")
	got = append(got, take("", "3"), take("10.0.0.6", "4"), take("10.0.0.6", "5"), take("10.0.0.6", "4"), take("x", "6"), take("192.0.2.9", "7"))
	got = append(got, take("", "8"), take("", "9"), take("", "10"))
	want := "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.6 FailedPrecondition 10.0.0.6 InvalidArgument 192.0.2.9 10.0.0.5 10.0.0.2 ResourceExhausted"
	if strings.Join(got, " ") != want {
		t.Errorf("addresses %v\nwant %s", got, want)
	}
	// One of each family, all or none.
	got = []string{take("192.0.2.20, 2001:db8::1", "12"), take("192.0.2.21,2001:db8::1", "13"), take("192.0.2.21", "14"),
		take("192.0.2.22,192.0.2.23", "15"), take("192.0.2.22,::2,::3", "16"), take("192.0.2.22,", "17")}
	a.release("192.0.2.20,2001:db8::1", "12")
	got = append(got, take("2001:db8::1,192.0.2.20", "18"))
	want = "192.0.2.20,2001:db8::1 FailedPrecondition 192.0.2.21 InvalidArgument InvalidArgument InvalidArgument 2001:db8::1,192.0.2.20"
	if strings.Join(got, " ") != want {
		t.Errorf("of two families: %v\nwant %s", got, want)
	}
	a.setCIDR(netip.MustParsePrefix("10.1.0.0/24"))
	if got := take("", "11"); got != "10.1.0.1" {
		t.Errorf("of the new range: %s", got)
	}
}
