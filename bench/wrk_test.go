package main

import (
	"strings"
	"testing"
)

const wrkSays = `Running 3s test @ http://127.0.0.1:44739/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.29ms    4.69ms  56.65ms   96.82%
    Req/Sec    14.05k     1.80k   16.04k    90.00%
  Latency Distribution
     50%  541.00us
     75%  593.00us
     90%  691.00us
     99%   26.96ms
  42009 requests in 3.00s, 3.37MB read
Requests/sec:  13988.51
Transfer/sec:      1.12MB
`

func TestParseWrk(t *testing.T) {
	r, err := parseWrk([]byte(wrkSays))
	if err != nil || r.perSecond != 13988.51 || r.p50 != 541e-6 || r.p99 != 26.96e-3 {
		t.Errorf("%+v, %v", r, err)
	}
	for name, text := range map[string]string{
		"refusals":    wrkSays + "  Non-2xx or 3xx responses: 42009\n",
		"cut off":     wrkSays + "  Socket errors: connect 0, read 12, write 0, timeout 0\n",
		"no rate":     "unable to connect to 127.0.0.1:1 Connection refused\n",
		"no requests": strings.Replace(wrkSays, "13988.51", "0.00", 1),
		"no time":     strings.Replace(wrkSays, "541.00us", "541.00parsecs", 1),
	} {
		if r, err := parseWrk([]byte(text)); err == nil {
			t.Errorf("%s: %+v and no error", name, r)
		}
	}
}

func TestWorkerdLine(t *testing.T) {
	if address, err := workerdLine(`{"event":"listen","socket":"http","port":44739}` + "\n"); err != nil || address != "127.0.0.1:44739" {
		t.Errorf("%q, %v", address, err)
	}
	for _, line := range []string{"", "listening", `{"event":"other","port":1}`, `{"event":"listen"}`} {
		if address, err := workerdLine(line); err == nil {
			t.Errorf("%q: %q and no error", line, address)
		}
	}
}
