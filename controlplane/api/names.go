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

// Local volumes: directories on the nodes themselves.
const (
	// LocalPathProvisioner makes the volumes of classes that name it.
	LocalPathProvisioner = "petrel.run/local-path"
	// LocalPathFinalizer keeps a volume until its node has removed the directory.
	LocalPathFinalizer = "petrel.run/local-path"
	// LocalPathAnnotation is where a node has such directories.
	LocalPathAnnotation = "petrel.run/local-path-dir"
	// LocalPathClass is the name of the storage class that every cluster begins with.
	LocalPathClass = "local-path"
)

// Annotations by which limits reach the runtime and its figures come back.
const (
	// AnnotationWallTime limits one request, or one run of a command: a Go duration.
	AnnotationWallTime = "petrel.run/wall-time"
	// AnnotationCPUTime limits the processor time of one request: a Go duration.
	AnnotationCPUTime = "petrel.run/cpu-time"
	// AnnotationConcurrency is how many requests a pod serves at once.
	AnnotationConcurrency = "petrel.run/concurrency"
	// AnnotationQueue is how many more wait for their turn, and AnnotationQueueTime how long: a Go duration.
	AnnotationQueue     = "petrel.run/queue"
	AnnotationQueueTime = "petrel.run/queue-time"
	// AnnotationMaxRequestBody and AnnotationMaxResponseBody limit bodies: quantities of bytes.
	AnnotationMaxRequestBody  = "petrel.run/max-request-body"
	AnnotationMaxResponseBody = "petrel.run/max-response-body"
	// AnnotationCallDepth limits how deep calls nest in the guest.
	AnnotationCallDepth = "petrel.run/call-depth"
	// AnnotationMaxFiles limits the files and sockets that an instance has open.
	AnnotationMaxFiles = "petrel.run/max-files"
	// AnnotationIsolation is an AppTemplate's Isolation, AnnotationHTTP its HTTP, AnnotationEgress its Egress with
	// commas between.
	AnnotationIsolation = "petrel.run/isolation"
	AnnotationHTTP      = "petrel.run/http"
	AnnotationEgress    = "petrel.run/egress"
	// AnnotationKind is how the module runs: KindReactor or KindCommand.
	AnnotationKind = "petrel.run/kind"
	// AnnotationCompileMicros is how long the runtime compiled the module, in microseconds.
	AnnotationCompileMicros = "petrel.run/compile-us"
	// AnnotationCompileCached tells "true" where the compiled code came from the runtime's cache.
	AnnotationCompileCached = "petrel.run/compile-cached"
	// AnnotationColdStartMicros is the measured time from no instance to one that can serve, in microseconds.
	AnnotationColdStartMicros = "petrel.run/cold-start-us"
	// AnnotationColdStart is a ColdStart, as JSON.
	AnnotationColdStart = "petrel.run/cold-start"
)

// ConditionGuestHealthy is the condition of a pod whose guest was ended by a limit or a trap: False with the cause as
// its reason, True again after a minute without. A pod whose guest never failed does not have it.
const ConditionGuestHealthy = "petrel.run/GuestHealthy"

// How a module runs.
const (
	KindReactor = "reactor" // serves HTTP requests, each in an instance of its own
	KindCommand = "command" // runs to completion
)

// What a request shares with those before it.
const (
	IsolationReset  = "reset"
	IsolationFresh  = "fresh"
	IsolationShared = "shared"
)

// Isolations are the values of an AppTemplate's Isolation.
func Isolations() []string { return []string{IsolationReset, IsolationFresh, IsolationShared} }

const (
	// HTTPAuto lets the module's imports and exports decide how it serves HTTP.
	HTTPAuto = "auto"
	// HTTPSockets is for a server that accepts its connections itself.
	HTTPSockets = "sockets"
)

// HTTPModes are the values of an AppTemplate's HTTP.
func HTTPModes() []string { return []string{HTTPAuto, "reactor", "http-wasm", "wagi", HTTPSockets} }

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
	// MaxQueue bounds the requests that wait at one pod.
	MaxQueue = 100_000
	// MaxCallDepth bounds a guest's call depth: its stack is the runtime's memory.
	MaxCallDepth = 100_000
	// MaxFiles bounds an instance's open files and sockets.
	MaxFiles = 4096
	// MaxEgress bounds the list of grants, MaxEgressLength each of them: a host name has 253 characters at most.
	MaxEgress       = 64
	MaxEgressLength = 300
	// MaxImageLength bounds an image reference.
	MaxImageLength = 512
)
