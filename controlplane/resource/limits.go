package resource

import "time"

const (
	// MaxJSONPatchOperations bounds the work that one small body can ask for.
	MaxJSONPatchOperations = 10_000
	// MaxPatchCopy bounds what a JSON patch's copy operations may add to an object, in bytes: otherwise a few of
	// them, each doubling a field, would exhaust memory.
	MaxPatchCopy = 3 << 20
	// MaxGenerateNameTries is how often a generated name that exists already is generated anew.
	MaxGenerateNameTries = 8
	// generatedLength is the number of random characters after generateName, and maxGeneratedBase what is kept of
	// the prefix so that both fit a DNS label.
	generatedLength  = 5
	maxGeneratedBase = 63 - generatedLength
	// MaxManagerLength bounds a field manager's name, as Kubernetes does.
	MaxManagerLength = 128
	// deleteCollectionPage is how many objects a deletecollection reads at once.
	deleteCollectionPage = 500
	// claimGrace is how long a claim may stand without its Service before it counts as left over: longer than any
	// create takes between the two writes.
	claimGrace = time.Minute
	// repairPeriod is how often left-over claims are looked for.
	repairPeriod = 10 * time.Minute
	// eventLifetime is how long an event is kept after it was last seen, as in Kubernetes, and reapPeriod how often old
	// ones are looked for.
	eventLifetime = time.Hour
	reapPeriod    = 5 * time.Minute
	// settleTimeout bounds giving back claims after a request whose own context may have ended.
	settleTimeout = 5 * time.Second
)
