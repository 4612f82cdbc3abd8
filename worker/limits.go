package worker

import "time"

const (
	// maxStarts bounds the sandboxes and containers that are being made at a time. More would only make the first ones
	// wait: making one is the processor's work.
	maxStarts = 16
	// maxFileWork bounds what is written and removed on disk at a time: each occupies a thread, and threads stay.
	maxFileWork = 8
	// maxVolumeWork bounds the pods whose volumes are being made: those wait for the API too.
	maxVolumeWork = 16
	// maxStatusWriters bounds the status calls to the API that are under way.
	maxStatusWriters = 16
	// apiTimeout bounds a call to the API.
	apiTimeout = 15 * time.Second

	// healthTimeout bounds asking the runtime whether it is well.
	healthTimeout = 5 * time.Second

	// relistInterval is how often everything the runtime holds is compared with what the worker believes, as the
	// safety net under its events; relistBlind is the same for a runtime without events.
	relistInterval = 5 * time.Minute
	relistBlind    = time.Second
	// relistSettle is when to compare once more after a stream was opened: the runtime may have begun it later.
	relistSettle = 2 * time.Second
	// eventsRetry is the pause before a broken event stream is opened again.
	eventsRetry = 500 * time.Millisecond

	// runtimeRetry is when a step that the runtime did not take is tried again; it doubles to runtimeRetryMax.
	runtimeRetry    = 500 * time.Millisecond
	runtimeRetryMax = 30 * time.Second
	// volumeRetry is when volumes that could not be made are tried again: what they lack may have come.
	volumeRetry = 5 * time.Second
	// configRetry is the same for a container whose configuration lacks something.
	configRetry = 5 * time.Second
	// forcedGrace is what a pod that vanished from the API without a grace period of its own has to end.
	forcedGrace = 2 * time.Second

	// A status that the API did not take is sent again after statusRetryBase, doubling to statusRetryMax.
	statusRetryBase = 100 * time.Millisecond
	statusRetryMax  = 5 * time.Second
	// statusRepeat is the least time between two sendings of one status that the API does not keep as it is.
	statusRepeat = 5 * time.Second

	// guestInterval is the least time between two looks at a pod whose guest fails, guestEventInterval between two
	// events of the same failure.
	guestInterval      = 10 * time.Second
	guestEventInterval = time.Minute
	// startSlack is how much later than a container's start its announcement may come.
	startSlack = 5 * time.Second
	// maxFailureMessage bounds what the runtime tells of a guest's failure.
	maxFailureMessage = 1024

	// Events of everyday life (pulled, created, started) beyond this rate are dropped and counted: a thousand pods
	// that start would else spend more of the API's time on their events than on themselves. Warnings always pass.
	normalEventsPerSecond = 50
	normalEventsBurst     = 200

	// defaultContainerdPatience is a start of containerd on a slow machine.
	defaultContainerdPatience = 10 * time.Second
	// defaultRuntimeGrace lets a runtime be restarted without the node being taken for unwell.
	defaultRuntimeGrace = 15 * time.Second

	// defaultMaxPods is the node's capacity unless configured.
	defaultMaxPods = 11000

	// tellPullEvery is how often the status of a container whose image takes long says how far that is.
	tellPullEvery = 5 * time.Second
)
