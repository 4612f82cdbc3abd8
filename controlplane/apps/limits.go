package apps

import "time"

// Limits of the API.
const (
	// MaxModule is the most bytes an uploaded module may have. The largest Go program we know of, Kubernetes' kubectl,
	// makes about 50 MiB of Wasm.
	MaxModule = 64 << 20
	// maxRequestJSON bounds a JSON body: the configuration's own limit is 64 KiB, quoting may take several times that.
	maxRequestJSON = 1 << 20
	// maxUploads is how many bodies are read and checked at once; a check holds the module in memory.
	maxUploads = 4
	// uploadPatience is how long a deploy waits for its turn before it is told to come back.
	uploadPatience = 10 * time.Second
	// maxDrain and drainPatience bound what is read of a body that is refused for its length.
	maxDrain      = 256 << 20
	drainPatience = 10 * time.Second
	// DefaultTimeout and MaxTimeout bound the wait for a rollout: a cold compile of a large module takes seconds.
	DefaultTimeout = time.Minute
	MaxTimeout     = 10 * time.Minute
	// maxConflicts is how often a write is tried anew because someone else wrote first.
	maxConflicts = 20
	// maxVersionTries is how many numbers a new version tries when others take them at the same time.
	maxVersionTries = 100
	// conflictPause is the longest first wait between two tries; it grows with each.
	conflictPause = 5 * time.Millisecond
	// recheck is how often a wait looks again without having been woken.
	recheck = time.Second
	// firstProbePause and lastProbePause: the first response is asked for at once and then ever more rarely.
	firstProbePause = 2 * time.Millisecond
	lastProbePause  = 100 * time.Millisecond
	// probeTimeout bounds one request to the app.
	probeTimeout = 10 * time.Second
	// gatewayGrace is how long a gateway's own error may stand before it is taken for the answer.
	gatewayGrace = 5 * time.Second
	// figuresGrace is how long a ready pod's measured figures are waited for.
	figuresGrace = 2 * time.Second
	// problemLogLines is how many of a failed pod's last lines its problem carries, each cut at problemLineLength.
	problemLogLines   = 10
	problemLineLength = 500
	// problemLogPatience bounds the read of them: the failure is worth telling without.
	problemLogPatience = 2 * time.Second
	// maxLogPods bounds the pods whose logs one request reads at once.
	maxLogPods = 64
	// maxLogLine bounds a line; a longer one is told in pieces.
	maxLogLine = 64 << 10
	// logRetry is the wait before a log that could not be opened, or that ended, is tried again.
	logRetry = 500 * time.Millisecond
)
