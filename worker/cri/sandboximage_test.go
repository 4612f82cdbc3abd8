package cri

import "testing"

func TestSandboxImage(t *testing.T) {
	for config, want := range map[string]string{
		"": "", "no JSON": "", `[]`: "", `{"sandboxImage": 7}`: "", `{"containerd": {}}`: "",
		`{"sandboxImage": "registry.k8s.io/pause:3.6", "containerd": {"runtimes": {}}}`: "registry.k8s.io/pause:3.6",
	} {
		if got := sandboxImageOf(map[string]string{"config": config}); got != want {
			t.Errorf("%s: %q, want %q", config, got, want)
		}
	}
	if got := sandboxImageOf(nil); got != "" {
		t.Errorf("nothing told: %q", got)
	}
}

func FuzzSandboxImageOf(f *testing.F) {
	f.Add(`{"sandboxImage": "a/b:1"}`)
	f.Fuzz(func(t *testing.T, config string) {
		if got := sandboxImageOf(map[string]string{"config": config}); got != "" && len(got) > 3*len(config) { // a byte that is no text becomes three
			t.Errorf("%q is read as %q", config, got)
		}
	})
}
