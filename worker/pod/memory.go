package pod

import (
	"time"
)

const (
	// BackoffBase is the first delay of a crashing container and of a failing image pull; each one after is twice it.
	BackoffBase = 10 * time.Second
	// BackoffMax is the longest delay.
	BackoffMax = 5 * time.Minute
	// BackoffReset is how long a container has to run for its crashes to be forgotten.
	BackoffReset = 10 * time.Minute
)

// Why is a reason with its message, as a container's waiting state tells it.
type Why struct {
	Reason  string
	Message string
}

// Memory is what the worker remembers of one container beyond what the runtime holds. A restarted worker starts with
// an empty one.
type Memory struct {
	// Waiting says why the container does not run when the worker could not start it.
	Waiting Why
	// RetryAt is when starting it may be tried again.
	RetryAt time.Time
	// Failures counts attempts at starting that failed one after the other.
	Failures int
	// Crashes counts short lives one after the other, and lastExit the instance counted last.
	Crashes  int
	lastExit string
	// Started and Ready are what the startup and readiness probes said of the newest instance.
	Started bool
	Ready   bool
	// Hook is the instance whose start hook is under way: it does not count as started, and what follows it waits.
	Hook string
	// Stopped is the instance that was told of its stop by its hook, which is done once.
	Stopped string
	// Condemned, when it names the newest instance, says that it has to be killed, with the reason for the event.
	Condemned string
	Why       string
	Grace     time.Duration
	// Lost is the newest instance that the runtime held before it lost its containers.
	Lost *Instance
}

// ObserveExit counts the end of an instance, once.
func (m *Memory) ObserveExit(i *Instance) {
	if i == nil || i.State != Exited || i.ID == m.lastExit {
		return
	}
	m.lastExit = i.ID
	if i.Finished.Sub(i.Started) >= BackoffReset {
		m.Crashes = 0
	}
	m.Crashes++
}

// RestartDelay is how long after its end a container is started again: at once the first time, then ten seconds,
// doubling to five minutes.
func (m *Memory) RestartDelay() time.Duration {
	if m.Crashes <= 1 {
		return 0
	}
	return backoff(m.Crashes - 1)
}

// Failed notes that starting failed at now, and when it may be tried again.
func (m *Memory) Failed(now time.Time, why Why) {
	m.Failures++
	m.Waiting = why
	m.RetryAt = now.Add(backoff(m.Failures))
}

// Succeeded forgets the failures to start.
func (m *Memory) Succeeded() {
	m.Failures, m.Waiting, m.RetryAt = 0, Why{}, time.Time{}
}

// backoff is the nth delay, n from 1.
func backoff(n int) time.Duration {
	d := BackoffBase
	for range n - 1 {
		if d *= 2; d >= BackoffMax {
			return BackoffMax
		}
	}
	return d
}
