package cri

import "testing"

func TestNetnsOf(t *testing.T) {
	for _, c := range []struct {
		info map[string]string
		want string
		bad  bool
	}{
		{nil, "", false},
		{map[string]string{"info": `{"pid":1,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}]}}}`}, "/run/netns/x", false},
		{map[string]string{"info": `{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid","path":"/y"}]}}}`}, "", false},
		{map[string]string{"info": `{`}, "", true},
	} {
		got, err := netnsOf(c.info)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%v: %q, %v", c.info, got, err)
		}
	}
}

func FuzzNetnsOf(f *testing.F) {
	f.Add(`{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"/run/netns/x"}]}}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		if path, err := netnsOf(map[string]string{"info": raw}); err != nil && path != "" {
			t.Errorf("%q: %q with %v", raw, path, err)
		}
	})
}
