package eviction

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Candidate is a pod that could be ended.
type Candidate struct {
	UID      types.UID
	Name     string // namespace/name
	Priority int32
	Critical bool // the node itself needs it
	Started  time.Time
	// Requests and Uses are bytes, by resource; of what was not measured nothing is there.
	Requests map[corev1.ResourceName]int64
	Uses     map[corev1.ResourceName]int64
	// Grace is what the pod asks for to end.
	Grace time.Duration
	// Containers are told of in the message.
	Containers []Share
}

// Share is what one container of a pod asked for and takes, as far as it was measured.
type Share struct {
	Name           string
	Requests, Uses map[corev1.ResourceName]int64
}

// Inodes are counted like a resource, though no pod can ask for any.
const Inodes corev1.ResourceName = "inodes"

// short is the resource of pods that a signal is about; empty where pods are not told apart by what they take.
func short(s Signal) corev1.ResourceName {
	switch s {
	case MemoryAvailable:
		return corev1.ResourceMemory
	case NodeFSAvailable, ImageFSAvailable:
		return corev1.ResourceEphemeralStorage
	case NodeFSInodes, ImageFSInodes:
		return Inodes
	default:
		return ""
	}
}

// Rank are the pods that may be ended for the signal, the first one first.
func Rank(pods []Candidate, s Signal) []Candidate {
	name := short(s)
	var out []Candidate
	for _, p := range pods {
		used, known := p.Uses[name]
		if p.Critical || name != "" && known && used == 0 { // its end would give nothing back
			continue
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b Candidate) int {
		x, y := beyond(&a, name), beyond(&b, name)
		return cmp.Or(
			-compareBool(x > 0, y > 0),
			cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(y, x),
			b.Started.Compare(a.Started), // the one that has done the least yet
			cmp.Compare(a.Name, b.Name),
		)
	})
	return out
}

// beyond is how much more the pod takes than it asked for.
func beyond(p *Candidate, name corev1.ResourceName) int64 {
	if name == "" {
		return 0
	}
	return p.Uses[name] - p.Requests[name]
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
