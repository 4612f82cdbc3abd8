package bundle

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestDecodeDNS(t *testing.T) {
	for name, tt := range map[string]struct {
		raw  string
		want *runtimev1.DNSConfig
	}{
		"kubelet's": {"search a.svc b\nnameserver 10.43.0.10\noptions ndots:5\n", &runtimev1.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: []string{"a.svc", "b"}, Options: []string{"ndots:5"}}},
		"several":   {"nameserver ::1\r\n  nameserver\t1.1.1.1 ignored\noptions a\noptions b c\n", &runtimev1.DNSConfig{Servers: []string{"::1", "1.1.1.1"}, Options: []string{"a", "b", "c"}}},
		"last one":  {"domain x\nsearch y z\n", &runtimev1.DNSConfig{Searches: []string{"y", "z"}}},
		"nothing":   {"# nameserver 1.1.1.1\nnameserver\nsortlist 1\n\n", &runtimev1.DNSConfig{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := DecodeDNS(strings.NewReader(tt.raw)); err != nil || !proto.Equal(got, tt.want) {
				t.Errorf("%v, %v; want %v", got, err, tt.want)
			}
		})
	}
	if _, err := DecodeDNS(strings.NewReader(strings.Repeat("x", maxResolvConf))); err == nil {
		t.Error("an endless line is read")
	}
}

func TestReadDNS(t *testing.T) {
	if got, err := ReadDNS(""); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if _, err := ReadDNS(file); err == nil {
		t.Error("a file that is not there is read")
	}
	if err := os.WriteFile(file, []byte("nameserver 1.2.3.4"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadDNS(file); err != nil || !reflect.DeepEqual(got.Servers, []string{"1.2.3.4"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzDecodeDNS(f *testing.F) {
	f.Add("nameserver 1.1.1.1\nsearch a b\noptions x\n")
	f.Fuzz(func(t *testing.T, raw string) {
		dns, err := DecodeDNS(strings.NewReader(raw))
		if err != nil {
			return
		}
		for _, list := range [][]string{dns.Servers, dns.Searches, dns.Options} {
			for _, word := range list {
				if len(strings.Fields(word)) != 1 {
					t.Errorf("%q is no word", word)
				}
			}
		}
	})
}
