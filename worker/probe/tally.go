package probe

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind says what a probe's verdict is for.
type Kind string

// The kinds, as they are written in events.
const (
	Startup   Kind = "Startup"
	Readiness Kind = "Readiness"
	Liveness  Kind = "Liveness"
)

// The API's defaults, for specs that did not pass through it.
const (
	defaultPeriod    = 10 * time.Second
	defaultTimeout   = time.Second
	defaultSuccesses = 1
	defaultFailures  = 3
)

// settings is a probe's spec with the defaults filled in.
type settings struct {
	delay, period, timeout time.Duration
	successes, failures    int
}

func settingsOf(p *corev1.Probe) settings {
	s := settings{
		delay:     time.Duration(p.InitialDelaySeconds) * time.Second,
		period:    time.Duration(p.PeriodSeconds) * time.Second,
		timeout:   time.Duration(p.TimeoutSeconds) * time.Second,
		successes: int(p.SuccessThreshold),
		failures:  int(p.FailureThreshold),
	}
	if s.period <= 0 {
		s.period = defaultPeriod
	}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.successes <= 0 {
		s.successes = defaultSuccesses
	}
	if s.failures <= 0 {
		s.failures = defaultFailures
	}
	return s
}

// verdict is what a probe holds its container for.
type verdict int

const (
	undecided verdict = iota
	good
	bad
)

// tally counts results that agree, one after the other, up to the threshold that makes a verdict of them.
type tally struct {
	now   verdict
	last  bool
	count int
}

// add counts a result and reports whether the verdict changed with it.
func (t *tally) add(ok bool, s settings) bool {
	if ok != t.last || t.count == 0 {
		t.last, t.count = ok, 0
	}
	t.count++
	want, threshold := good, s.successes
	if !ok {
		want, threshold = bad, s.failures
	}
	if t.count < threshold || t.now == want {
		return false
	}
	t.now = want
	return true
}
