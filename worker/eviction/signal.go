package eviction

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is what can be short, under kubelet's names.
type Signal string

// The signals.
const (
	MemoryAvailable  Signal = "memory.available"
	NodeFSAvailable  Signal = "nodefs.available"
	NodeFSInodes     Signal = "nodefs.inodesFree"
	ImageFSAvailable Signal = "imagefs.available"
	ImageFSInodes    Signal = "imagefs.inodesFree"
	PIDAvailable     Signal = "pid.available"
)

// signals in the order in which they are looked at: memory first, because the kernel acts by itself when it is out.
var signals = []Signal{MemoryAvailable, PIDAvailable, NodeFSAvailable, NodeFSInodes, ImageFSAvailable, ImageFSInodes}

// conditions are what the node's status says of each.
var conditions = map[Signal]corev1.NodeConditionType{
	MemoryAvailable: corev1.NodeMemoryPressure, PIDAvailable: corev1.NodePIDPressure,
	NodeFSAvailable: corev1.NodeDiskPressure, NodeFSInodes: corev1.NodeDiskPressure,
	ImageFSAvailable: corev1.NodeDiskPressure, ImageFSInodes: corev1.NodeDiskPressure,
}

// resources are what events and statuses of evicted pods say was low.
var resources = map[Signal]string{
	MemoryAvailable: "memory", PIDAvailable: "pids", NodeFSAvailable: "ephemeral-storage", NodeFSInodes: "inodes",
	ImageFSAvailable: "ephemeral-storage", ImageFSInodes: "inodes",
}

// Amount is how much there is of something, and how much of it is free.
type Amount struct{ Capacity, Available int64 }

// Observed is how much there is, by signal; what could not be looked at is missing.
type Observed map[Signal]Amount

// Threshold is the least that has to be free: so much, or so many percent of all.
type Threshold struct {
	Signal  Signal
	Amount  int64
	Percent float64
	// Soft ones may be crossed for as long as Grace, and pods that are evicted for them get time to end.
	Soft  bool
	Grace time.Duration
	// Reclaim is what has to be free beyond the threshold once it was crossed.
	Reclaim Part
}

// Least is the threshold of so much in all.
func (t Threshold) Least(capacity int64) int64 {
	if t.Percent > 0 {
		return int64(float64(capacity) * t.Percent / 100)
	}
	return t.Amount
}

// String is the threshold as ParseThresholds reads it.
func (t Threshold) String() string { return string(t.Signal) + "<" + t.quantity() }

func (t Threshold) quantity() string {
	if t.Percent > 0 {
		return strconv.FormatFloat(t.Percent, 'f', -1, 64) + "%"
	}
	return resource.NewQuantity(t.Amount, resource.BinarySI).String()
}

// Default are the thresholds of a node that was told nothing else.
func Default() []Threshold {
	return []Threshold{
		{Signal: MemoryAvailable, Amount: 100 << 20},
		{Signal: NodeFSAvailable, Percent: 5}, {Signal: NodeFSInodes, Percent: 5},
		{Signal: ImageFSAvailable, Percent: 5}, {Signal: ImageFSInodes, Percent: 5},
		{Signal: PIDAvailable, Percent: 5},
	}
}

// maxThresholds bounds what is read of a flag.
const maxThresholds = 16

// ParseThresholds reads kubelet's form: "memory.available<100Mi,nodefs.available<5%". An empty text is no threshold at all.
func ParseThresholds(text string) ([]Threshold, error) {
	var out []Threshold
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" && strings.TrimSpace(text) == "" {
			return nil, nil
		}
		t, err := parseThreshold(part)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o Threshold) bool { return o.Signal == t.Signal }) || len(out) == maxThresholds {
			return nil, fmt.Errorf("eviction threshold %q: %s has one already", part, t.Signal)
		}
		out = append(out, t)
	}
	return out, nil
}

func parseThreshold(text string) (Threshold, error) {
	name, value, ok := strings.Cut(text, "<")
	t := Threshold{Signal: Signal(strings.TrimSpace(name))}
	if !ok || !slices.Contains(signals, t.Signal) {
		return t, fmt.Errorf("eviction threshold %q: want one of %v, then < and a quantity or a percentage", text, signals)
	}
	value = strings.TrimSpace(value)
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n > 0 && n < 100) {
			return t, fmt.Errorf("eviction threshold %q: want a percentage between 0 and 100", text)
		}
		t.Percent = n
		return t, nil
	}
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Sign() <= 0 || q.Value() <= 0 {
		return t, fmt.Errorf("eviction threshold %q: want a positive quantity such as 100Mi", text)
	}
	t.Amount = q.Value()
	return t, nil
}
