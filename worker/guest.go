package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"strconv"
	"strings"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/pod"
)

// runtimeInfo is what petrel-wasmrt tells of a container under the key "petrel".
type runtimeInfo struct {
	Kind            string        `json:"kind"`
	ABI             string        `json:"abi"`
	Snapshot        string        `json:"snapshot"`
	CompileMicros   int64         `json:"compileMicros"`
	CompileCached   bool          `json:"compileCached"`
	ColdStartMicros int64         `json:"coldStartMicros"`
	ColdStart       coldStart     `json:"coldStart"`
	LastFailure     *guestFailure `json:"lastFailure"`
}

// coldStart is what the runtime measured, in microseconds.
type coldStart struct {
	CompileMicros      int64 `json:"compileMicros,omitempty"`
	SnapshotMicros     int64 `json:"snapshotMicros,omitempty"`
	CloneP50Micros     int64 `json:"cloneP50Micros,omitempty"`
	CloneP99Micros     int64 `json:"cloneP99Micros,omitempty"`
	FirstRequestMicros int64 `json:"firstRequestMicros,omitempty"`
}

// guestFailure is the last request that a limit or a trap ended.
type guestFailure struct {
	Code     string    `json:"code"`
	Detail   string    `json:"detail"`
	Function string    `json:"function"`
	Time     time.Time `json:"time"`
	Count    uint64    `json:"count"` // of failures with this code
}

func parseInfo(info map[string]string) (*runtimeInfo, error) {
	raw, ok := info["petrel"]
	if !ok {
		return nil, nil
	}
	i := &runtimeInfo{}
	if err := json.Unmarshal([]byte(raw), i); err != nil {
		return nil, fmt.Errorf("read runtime info: %w", err)
	}
	return i, nil
}

// takeInfo notes the runtime's figures for the pod's annotations, and the guest's failures.
func (a *actor) takeInfo(info map[string]string) *runtimeInfo {
	i, err := parseInfo(info)
	if err != nil {
		a.m.log.Warn("runtime info is not what was expected", "pod", a.name(), "error", err)
	}
	if i == nil {
		return nil
	}
	if notes := i.notes(); !maps.Equal(notes, a.notes) {
		a.notes = a.m.notes.share(notes)
	}
	return i
}

// notes are the annotations that tell the figures.
func (i *runtimeInfo) notes() map[string]string {
	notes := map[string]string{
		"petrel.run/kind":           i.Kind,
		"petrel.run/compile-us":     strconv.FormatInt(i.CompileMicros, 10),
		"petrel.run/compile-cached": strconv.FormatBool(i.CompileCached),
		"petrel.run/cold-start-us":  strconv.FormatInt(i.ColdStartMicros, 10),
	}
	all := struct {
		coldStart
		ABI      string `json:"abi,omitempty"`
		Snapshot string `json:"snapshot,omitempty"`
	}{i.ColdStart, i.ABI, i.Snapshot}
	if raw, err := json.Marshal(all); err == nil && string(raw) != "{}" {
		notes["petrel.run/cold-start"] = string(raw)
	}
	return notes
}

// failureReasons name a guest's failures as events and conditions do; other codes are written in CamelCase.
var failureReasons = map[string]string{
	"cpu_time":  "CPUTimeExceeded",
	"wall_time": "WallTimeExceeded",
	"memory":    "MemoryExceeded",
	"queue":     "QueueFull",
	"start":     "StartFailed",
}

// reason is the code as a reason: letters and digits only, whatever the runtime says.
func (f *guestFailure) reason() string {
	if known := failureReasons[f.Code]; known != "" {
		return known
	}
	var b strings.Builder
	upper := true
	for _, r := range f.Code {
		switch {
		case r >= 'a' && r <= 'z' && upper:
			b.WriteRune(r - 'a' + 'A')
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		}
		upper = r == '_' || r == '-'
	}
	if b.Len() == 0 {
		return "GuestFailed"
	}
	return b.String()
}

func (f *guestFailure) message() string {
	message := f.Detail
	if message == "" {
		message = "the guest failed with " + f.Code
	}
	if f.Function != "" && !strings.Contains(message, f.Function) {
		message += " in " + f.Function
	}
	if f.Count > 1 {
		message += fmt.Sprintf(" (%d times)", f.Count)
	}
	return strings.ToValidUTF8(message[:min(len(message), maxFailureMessage)], "")
}

// guestWatch follows a guest that has failed. A pod whose guest never did has none.
type guestWatch struct {
	instance string    // to be asked for; empty when there is no need
	due      time.Time // not before that
	told     time.Time // the last event
	reason   string    // of it
}

// announcedSeed makes the hashes by which actors remember the start that they were told of.
var announcedSeed = maphash.MakeSeed()

// onStarted is told that the runtime has announced a container's start. It does so once for the start itself, which the
// actor did, and again when the container's figures change because its guest failed.
func (a *actor) onStarted(e *runtimev1.ContainerEventResponse) {
	id := e.GetContainerId()
	hash := maphash.String(announcedSeed, id)
	a.mu.Lock()
	repeated := a.announced == hash
	a.announced = hash
	a.mu.Unlock()
	for _, c := range e.GetContainersStatuses() {
		if c.GetId() == id && c.GetStartedAt() > 0 && e.GetCreatedAt()-c.GetStartedAt() > int64(startSlack) {
			repeated = true // the first word of it was for the worker before this one
		}
	}
	if repeated {
		a.tell(func() { a.ailing = id })
	}
}

// checkGuest asks how a guest is that the runtime has told of, now and then. It answers when it wants to be woken.
func (a *actor) checkGuest(ctx context.Context, ailing string, now time.Time) time.Time {
	if ailing != "" {
		if a.guest == nil {
			a.guest = &guestWatch{}
		}
		a.guest.instance = ailing
	}
	g := a.guest
	if g == nil || g.instance == "" {
		return time.Time{}
	}
	if now.Before(g.due) {
		return g.due
	}
	g.due = now.Add(guestInterval)
	_, info, err := a.m.rt.ContainerStatus(ctx, g.instance, true)
	if err != nil && !cri.IsNotFound(err) {
		a.m.log.Debug("guest was not asked for", "pod", a.name(), "error", err)
		return g.due
	}
	g.instance = ""
	if i := a.takeInfo(info); i != nil && i.LastFailure != nil {
		a.takeFailure(i.LastFailure, now)
	}
	return time.Time{}
}

func (a *actor) takeFailure(f *guestFailure, now time.Time) {
	last := a.view.Failure
	if last != nil && !f.Time.After(last.At) {
		return
	}
	if f.Time.After(now) { // clocks that were set back must not keep a guest unhealthy
		f.Time = now
	}
	a.view.Failure = &pod.Failure{Reason: f.reason(), Message: f.message(), At: f.Time}
	if g := a.guest; g.reason != f.reason() || now.Sub(g.told) >= guestEventInterval {
		g.reason, g.told = f.reason(), now
		a.m.events.warn(a.view.Pod, "", a.view.Failure.Reason, "%s", a.view.Failure.Message)
	}
}
