package apps

import "time"

// Deployed is the answer to a deploy.
type Deployed struct {
	App       string `json:"app"`
	Namespace string `json:"namespace"`
	// Version counts from 1.
	Version int64 `json:"version"`
	// Digest names the image (its manifest): what pods run and registries serve.
	Digest string `json:"digest"`
	// ModuleDigest is the binary's own, Size its length in bytes.
	ModuleDigest string `json:"module_digest,omitempty"`
	Size         int64  `json:"size,omitempty"`
	URL          string `json:"url"`
	// Ready tells that every wanted pod of the version serves.
	Ready bool `json:"ready"`
	// Timings are in milliseconds: upload (the body), validate (the check), store (the registry), compile (by the
	// runtime), schedule (App written → pod bound), first_response (pod running → answer through the gateway), total.
	Timings map[string]float64 `json:"timings_ms"`
	// ColdStartMicros is what the runtime measured from no instance to one that can serve.
	ColdStartMicros int64 `json:"cold_start_us,omitempty"`
	// ColdStart is all that it measured, and how it runs the module.
	ColdStart *ColdStart `json:"cold_start,omitempty"`
	Imports   []string   `json:"imports,omitempty"`
	Sandbox
	Limits   Limits `json:"limits"`
	Replicas int32  `json:"replicas"`
	// Previous is the version that this deploy replaces; null where it replaces none.
	Previous *Previous `json:"previous"`
	Warnings []string  `json:"warnings,omitempty"`
}

// Previous is the version that a deploy replaces.
type Previous struct {
	Version int64  `json:"version"`
	Digest  string `json:"digest"`
}

// ColdStart is what the runtime measured of starting a module, in microseconds, and how it runs it.
type ColdStart struct {
	CompileMicros      int64 `json:"compile_us,omitempty"`
	SnapshotMicros     int64 `json:"snapshot_us,omitempty"`
	CloneP50Micros     int64 `json:"clone_p50_us,omitempty"`
	CloneP99Micros     int64 `json:"clone_p99_us,omitempty"`
	FirstRequestMicros int64 `json:"first_request_us,omitempty"`
	// ABI is the way in which the module serves.
	ABI string `json:"abi,omitempty"`
	// Snapshot is "yes", or why instances are made without one.
	Snapshot string `json:"snapshot,omitempty"`
}

// Sandbox is how a version's guest runs and what it may reach; what is empty takes the runtime's default.
type Sandbox struct {
	Isolation string   `json:"isolation,omitempty"`
	HTTP      string   `json:"http,omitempty"`
	Egress    []string `json:"egress,omitempty"`
}

// Limits are a version's; what is empty takes the runtime's default.
type Limits struct {
	Memory          string `json:"memory,omitempty"`
	CPUTime         string `json:"cpu_time,omitempty"`
	WallTime        string `json:"wall_time,omitempty"`
	Concurrency     int32  `json:"concurrency,omitempty"`
	Queue           int32  `json:"queue,omitempty"`
	QueueTime       string `json:"queue_time,omitempty"`
	MaxRequestBody  string `json:"max_request_body,omitempty"`
	MaxResponseBody string `json:"max_response_body,omitempty"`
	CallDepth       int32  `json:"call_depth,omitempty"`
	MaxFiles        int32  `json:"max_files,omitempty"`
}

// Plan is the answer to a deploy with ?dry_run=1: what it would do.
type Plan struct {
	DryRun    bool   `json:"dry_run"`
	App       string `json:"app"`
	Namespace string `json:"namespace"`
	// Action is create, update, scale or none.
	Action string `json:"action"`
	// Version would be the deploy's.
	Version      int64    `json:"version"`
	ModuleDigest string   `json:"module_digest,omitempty"`
	Size         int64    `json:"size,omitempty"`
	URL          string   `json:"url"`
	Changes      []string `json:"changes"`
	Imports      []string `json:"imports,omitempty"`
	Sandbox
	Limits   Limits             `json:"limits"`
	Previous *Previous          `json:"previous"`
	Timings  map[string]float64 `json:"timings_ms"`
	Warnings []string           `json:"warnings,omitempty"`
}

// App is one app as it stands.
type App struct {
	App           string            `json:"app"`
	Namespace     string            `json:"namespace"`
	Version       int64             `json:"version"`
	LatestVersion int64             `json:"latest_version"`
	URL           string            `json:"url"`
	Ready         bool              `json:"ready"`
	Reason        string            `json:"reason,omitempty"`
	Message       string            `json:"message,omitempty"`
	Replicas      int32             `json:"replicas"`
	ReadyReplicas int32             `json:"ready_replicas"`
	Image         string            `json:"image,omitempty"`
	Digest        string            `json:"digest,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	Args          []string          `json:"args,omitempty"`
	Sandbox
	Limits          Limits     `json:"limits"`
	ColdStartMicros int64      `json:"cold_start_us,omitempty"`
	ColdStart       *ColdStart `json:"cold_start,omitempty"`
	CompileMicros   int64      `json:"compile_us,omitempty"`
	Created         time.Time  `json:"created"`
}

// AppList is the answer to a list.
type AppList struct {
	Apps []App `json:"apps"`
}

// Version is one version of an app.
type Version struct {
	Version      int64    `json:"version"`
	Active       bool     `json:"active"`
	Image        string   `json:"image"`
	Digest       string   `json:"digest,omitempty"`
	ModuleDigest string   `json:"module_digest,omitempty"`
	Size         int64    `json:"size,omitempty"`
	Kind         string   `json:"kind,omitempty"`
	Imports      []string `json:"imports,omitempty"`
	Sandbox
	Limits  Limits    `json:"limits"`
	Created time.Time `json:"created"`
}

// VersionList is the answer to a list of versions, the newest first.
type VersionList struct {
	App       string    `json:"app"`
	Namespace string    `json:"namespace"`
	Versions  []Version `json:"versions"`
}

// Deleted is the answer to a removal.
type Deleted struct {
	App       string `json:"app"`
	Namespace string `json:"namespace"`
	Deleted   bool   `json:"deleted"`
}

// LogLine is one line of an app's logs. A line with Notice is Petrel's own: it tells what the logs leave out.
type LogLine struct {
	Time      time.Time `json:"time,omitzero"`
	Pod       string    `json:"pod,omitempty"`
	Container string    `json:"container,omitempty"`
	Stream    string    `json:"stream,omitempty"`
	Line      string    `json:"line"`
	Notice    string    `json:"notice,omitempty"`
}

// Request is the JSON body of a deploy. What it leaves out stays as it is.
type Request struct {
	// Image names a module: in Petrel's registry by tag or digest, elsewhere by digest.
	Image string `json:"image,omitempty"`
	// Env and Args replace all of the former ones.
	Env  map[string]string `json:"env,omitempty"`
	Args []string          `json:"args,omitempty"`
	// Replicas is how many pods serve.
	Replicas *int32 `json:"replicas,omitempty"`
	// Isolation, HTTP and Egress change one by one; "" and [] go back to the runtime's default.
	Isolation *string  `json:"isolation,omitempty"`
	HTTP      *string  `json:"http,omitempty"`
	Egress    []string `json:"egress,omitempty"`
	// Limits change one by one; "" and 0 go back to the runtime's default.
	Limits *LimitsRequest `json:"limits,omitempty"`
}

// LimitsRequest changes limits.
type LimitsRequest struct {
	Memory          *string `json:"memory,omitempty"`
	CPUTime         *string `json:"cpu_time,omitempty"`
	WallTime        *string `json:"wall_time,omitempty"`
	Concurrency     *int32  `json:"concurrency,omitempty"`
	Queue           *int32  `json:"queue,omitempty"`
	QueueTime       *string `json:"queue_time,omitempty"`
	MaxRequestBody  *string `json:"max_request_body,omitempty"`
	MaxResponseBody *string `json:"max_response_body,omitempty"`
	CallDepth       *int32  `json:"call_depth,omitempty"`
	MaxFiles        *int32  `json:"max_files,omitempty"`
}
