package api

// GroupName is the API group of Petrel's own kinds.
const GroupName = "petrel.run"

// Labels that Petrel puts on what it makes for an App.
const (
	// LabelApp names the App on its Deployment, pods, Service and Revisions. The gateway serves a Service by its
	// app's host name only when it carries this label.
	LabelApp = "petrel.run/app"
	// LabelVersion is the number of the Revision that a pod or a Revision object stands for.
	LabelVersion = "petrel.run/version"
)

// Annotations by which limits reach the runtime and its figures come back.
const (
	// AnnotationWallTime limits one request, or one run of a command: a Go duration.
	AnnotationWallTime = "petrel.run/wall-time"
	// AnnotationConcurrency is how many requests a pod serves at once.
	AnnotationConcurrency = "petrel.run/concurrency"
	// AnnotationKind is how the module runs: KindReactor or KindCommand.
	AnnotationKind = "petrel.run/kind"
	// AnnotationCompileMicros is how long the runtime compiled the module, in microseconds.
	AnnotationCompileMicros = "petrel.run/compile-us"
	// AnnotationCompileCached tells "true" where the compiled code came from the runtime's cache.
	AnnotationCompileCached = "petrel.run/compile-cached"
	// AnnotationColdStartMicros is the measured time from no instance to one that can serve, in microseconds.
	AnnotationColdStartMicros = "petrel.run/cold-start-us"
)

// How a module runs.
const (
	KindReactor = "reactor" // serves HTTP requests, each in an instance of its own
	KindCommand = "command" // runs to completion
)

// RegistryHost names the control plane's own module registry in image references. It is no host on the network:
// the runtime maps it to the control plane's address.
const RegistryHost = "registry.petrel.internal"

// What an app's pods and Service look like from inside the cluster.
const (
	ContainerName = "app"
	PortName      = "http"
	Port          = 8080
)

// RevisionHistoryLimit is how many Revisions of an App are kept; older ones are removed unless they serve.
const RevisionHistoryLimit = 10

// MaxAppNameLength leaves room for what is made from an App's name: a Revision's "-v" with eleven digits still
// fits a label's value (63 characters), which is what host names and label values allow.
const MaxAppNameLength = 50

// Limits on what an App may ask for.
const (
	// MaxReplicas bounds one App's pods: what one node of this release was measured with, times ten.
	MaxReplicas = 10_000
	// MaxEnv and MaxArgs bound the lists; MaxConfigBytes bounds both together. WASI hands them to every instance,
	// so they cost each request.
	MaxEnv         = 256
	MaxArgs        = 256
	MaxConfigBytes = 64 << 10
	// MaxConcurrency bounds the requests that one pod serves at once.
	MaxConcurrency = 10_000
	// MaxImageLength bounds an image reference.
	MaxImageLength = 512
)
