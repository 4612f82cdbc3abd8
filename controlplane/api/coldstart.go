package api

import "encoding/json"

// SnapshotTaken is a ColdStart's Snapshot where instances are copies of a snapshot.
const SnapshotTaken = "yes"

// ColdStart is what the runtime measured of starting a module on a node, in microseconds, and how it runs it.
//
// +k8s:deepcopy-gen=true
type ColdStart struct {
	// CompileMicros is the compilation, or reading its result from the cache.
	CompileMicros int64 `json:"compileMicros,omitempty"`
	// SnapshotMicros is initialising an instance, warming it up, and taking its snapshot.
	SnapshotMicros int64 `json:"snapshotMicros,omitempty"`
	// CloneP50Micros and CloneP99Micros are making an instance of the snapshot: the median and the 99th percentile.
	CloneP50Micros int64 `json:"cloneP50Micros,omitempty"`
	CloneP99Micros int64 `json:"cloneP99Micros,omitempty"`
	// FirstRequestMicros is the first request, from no instance to its answer.
	FirstRequestMicros int64 `json:"firstRequestMicros,omitempty"`
	// ABI is the way in which the module serves.
	ABI string `json:"abi,omitempty"`
	// Snapshot is SnapshotTaken, or why instances are made without one.
	Snapshot string `json:"snapshot,omitempty"`
}

// ParseColdStart reads the value of AnnotationColdStart; nil where it holds none.
func ParseColdStart(value string) *ColdStart {
	if value == "" {
		return nil
	}
	c := &ColdStart{}
	if err := json.Unmarshal([]byte(value), c); err != nil || *c == (ColdStart{}) {
		return nil
	}
	return c
}
