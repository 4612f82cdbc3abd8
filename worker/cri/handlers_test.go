package cri

import (
	"slices"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestHandlersOf(t *testing.T) {
	for what, c := range map[string]struct {
		answer *runtimev1.StatusResponse
		want   []string
	}{
		"nothing": {&runtimev1.StatusResponse{}, nil},
		"told": {&runtimev1.StatusResponse{RuntimeHandlers: []*runtimev1.RuntimeHandler{{Name: "runc"}, {}, {Name: "crun"}, {Name: "runc"}}},
			[]string{"crun", "runc"}},
		"configured": {&runtimev1.StatusResponse{Info: map[string]string{"config": `{"containerd":{"runtimes":{"runc":{"type":"x"},"crun":{}}}}`}},
			[]string{"crun", "runc"}},
		"nonsense": {&runtimev1.StatusResponse{Info: map[string]string{"config": `{"containerd":`}}, nil},
	} {
		if got := handlersOf(c.answer); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func FuzzHandlersOf(f *testing.F) {
	f.Add(`{"containerd":{"runtimes":{"runc":{}}}}`)
	f.Fuzz(func(t *testing.T, config string) {
		got := handlersOf(&runtimev1.StatusResponse{Info: map[string]string{"config": config}})
		if !slices.IsSorted(got) {
			t.Errorf("%q", got)
		}
	})
}
