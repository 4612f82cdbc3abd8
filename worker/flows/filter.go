package flows

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// Verdicts are what can become of a connection.
const (
	Forwarded = "forwarded"
	Denied    = "denied"
	Refused   = "refused"
)

var verdicts = []string{Forwarded, Denied, Refused}

// VerdictOf is what became of a flow.
func VerdictOf(f *ebpfproxy.Flow) string {
	switch f.Kind {
	case ebpfproxy.FlowDenied:
		return Denied
	case ebpfproxy.FlowRefused:
		return Refused
	}
	return Forwarded
}

const (
	// maxNames bounds the names of one kind in a filter, maxName each of them.
	maxNames = 64
	maxName  = 512
)

// Filter says which flows are told. Of each list one entry has to fit; an empty list fits all.
type Filter struct {
	// Namespaces are those of a pod at either end, or of the Service.
	Namespaces []string
	// Pods are at either end: namespace/name.
	Pods []string
	// Services are asked for: namespace/name, with :port for one port of it.
	Services []string
	Verdicts []string
}

// Query writes the filter as ParseFilter reads it.
func (f *Filter) Query() url.Values {
	q := url.Values{}
	for _, list := range f.lists() {
		if len(*list.names) > 0 {
			q[list.key] = *list.names
		}
	}
	return q
}

type filterList struct {
	key   string
	names *[]string
}

func (f *Filter) lists() []filterList {
	return []filterList{{"namespace", &f.Namespaces}, {"pod", &f.Pods}, {"service", &f.Services}, {"verdict", &f.Verdicts}}
}

// ParseFilter reads a query.
func ParseFilter(q url.Values) (Filter, error) {
	var f Filter
	for _, list := range f.lists() {
		*list.names = q[list.key]
		if len(*list.names) > maxNames {
			return Filter{}, fmt.Errorf("%s: %d names, at most %d are taken", list.key, len(*list.names), maxNames)
		}
	}
	return f, f.Validate()
}

// Validate names the first entry that nothing could fit.
func (f *Filter) Validate() error {
	for _, list := range f.lists() {
		for _, name := range *list.names {
			qualified := list.key == "pod" || list.key == "service"
			if name == "" || len(name) > maxName || strings.Count(name, "/") == 1 != qualified {
				return fmt.Errorf("%s %q: want %s", list.key, name, map[bool]string{true: "namespace/name", false: "a name"}[qualified])
			}
		}
	}
	for _, v := range f.Verdicts {
		if !slices.Contains(verdicts, v) {
			return fmt.Errorf("verdict %q: want one of %s", v, strings.Join(verdicts, ", "))
		}
	}
	return nil
}

// Fits tells whether a flow is asked for.
func (f *Filter) Fits(flow *ebpfproxy.Flow) bool {
	return oneOf(f.Verdicts, func(v string) bool { return v == VerdictOf(flow) }) &&
		oneOf(f.Pods, func(pod string) bool { return pod == flow.SourcePod || pod == flow.DestinationPod }) &&
		oneOf(f.Services, func(name string) bool { return isService(flow.Service, name) }) &&
		oneOf(f.Namespaces, func(ns string) bool {
			return within(flow.SourcePod, ns) || within(flow.DestinationPod, ns) || within(flow.Service, ns)
		})
}

func oneOf(list []string, fits func(string) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, fits)
}

func within(name, namespace string) bool { return strings.HasPrefix(name, namespace+"/") }

// isService compares with a Service's name as flows have it: namespace/name:port, without the port where that has no name.
func isService(have, want string) bool {
	return have == want || !strings.Contains(want, ":") && strings.HasPrefix(have, want+":")
}
