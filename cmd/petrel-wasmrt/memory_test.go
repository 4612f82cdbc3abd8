package main

import "testing"

func TestParseMemory(t *testing.T) {
	const total = 1000 << 20
	for s, want := range map[string]uint64{"0": 0, "75%": 750 << 20, "100%": total / 100 * 100, "64Mi": 64 << 20, "8Gi": 8 << 30, "67108864": 64 << 20, "65536Ki": 64 << 20} {
		if got, err := parseMemory(s, total); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "%", "0%", "101%", "-1", "x", "1Mi", "1.5Gi", "99999999999999999999", "9999999999999999Gi", "8 Gi"} {
		if got, err := parseMemory(s, total); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}

func FuzzParseMemory(f *testing.F) {
	for _, s := range []string{"0", "75%", "8Gi", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseMemory(s, 1<<34); err == nil && got > 0 && got < leastMemory && s[len(s)-1] != '%' {
			t.Errorf("%q is %d", s, got)
		}
	})
}
