package main

import (
	"maps"
	"strings"
	"testing"
)

func TestParseGoBenchmark(t *testing.T) {
	out := "goos: linux\nBenchmarkConnect/10-2 \t 10000\t 124539 ns/op\t 13209 bare-ns\t 1.066 ratio\nPASS\n"
	got, err := parseGoBenchmark([]byte(out), "BenchmarkConnect/10")
	if want := map[string]float64{"ns/op": 124539, "bare-ns": 13209, "ratio": 1.066}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for text, says := range map[string]string{"PASS\n": "no result", "--- SKIP: BenchmarkConnect\n": "skipped", "BenchmarkConnect/10-2 1 x ns/op y z\n": "invalid syntax"} {
		if _, err := parseGoBenchmark([]byte(text), "BenchmarkConnect/10"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
