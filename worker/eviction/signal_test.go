package eviction

import (
	"slices"
	"strings"
	"testing"
)

func TestParseThresholds(t *testing.T) {
	cases := map[string][]Threshold{
		"":                       nil,
		" ":                      nil,
		"memory.available<100Mi": {{Signal: MemoryAvailable, Amount: 100 << 20}},
		"memory.available<1Gi, nodefs.available<7.5%": {{Signal: MemoryAvailable, Amount: 1 << 30}, {Signal: NodeFSAvailable, Percent: 7.5}},
	}
	for text, want := range cases {
		if got, err := ParseThresholds(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"memory.available", "memory.available<", "memory.available<0", "memory.available<-1Mi", "memory.available<100%", "memory.available<0%",
		"memory.available<NaN%", "heat.available<1", "<1", ",", "memory.available<1Mi,", "memory.available<1Mi,memory.available<2Mi", "memory.available>1Mi",
		"memory.available<1e999", "pid.available<" + strings.Repeat("9", 500) + "%",
	} {
		if got, err := ParseThresholds(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func FuzzParseThresholds(f *testing.F) {
	f.Add("memory.available<100Mi,nodefs.available<5%")
	f.Add("pid.available<0.1%")
	f.Add("imagefs.inodesFree<1k")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseThresholds(text)
		if err != nil {
			return
		}
		var parts []string
		for _, one := range got {
			if least := one.Least(1 << 40); least < 0 {
				t.Errorf("%q: the least of it is %d", text, least)
			}
			parts = append(parts, one.String())
		}
		again, err := ParseThresholds(strings.Join(parts, ","))
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q: %v is written %v, and read %v, %v", text, got, parts, again, err)
		}
	})
}

func TestDefaultsAreReadable(t *testing.T) {
	var parts []string
	for _, one := range Default() {
		parts = append(parts, one.String())
	}
	got, err := ParseThresholds(strings.Join(parts, ","))
	if err != nil || !slices.Equal(got, Default()) {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range signals {
		if conditions[s] == "" || resources[s] == "" {
			t.Errorf("%s has no condition or no name", s)
		}
	}
}
