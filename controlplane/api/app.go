package api

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// App is a WebAssembly module that serves HTTP, deployed.
//
// +k8s:deepcopy-gen=true
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type App struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AppSpec   `json:"spec,omitempty"`
	Status AppStatus `json:"status,omitempty"`
}

// AppSpec is what is wanted. The inlined template is versioned: when it differs from the Revision that serves, a
// new Revision is made of it. Replicas are not: scaling is no new version.
//
// +k8s:deepcopy-gen=true
type AppSpec struct {
	// Replicas is how many pods serve the app. Default 1.
	Replicas *int32 `json:"replicas,omitempty"`
	// Version is the Revision that should serve. It counts while that Revision still equals the template below;
	// otherwise the newest Revision that equals the template serves.
	Version int64 `json:"version,omitempty"`

	AppTemplate `json:",inline"`
}

// AppTemplate is the part of an App that makes a version: the code and its configuration.
//
// +k8s:deepcopy-gen=true
type AppTemplate struct {
	// Image is the module's reference, best by digest. Empty: nothing has been deployed yet.
	Image string `json:"image,omitempty"`
	// Env is the guest's environment.
	Env []corev1.EnvVar `json:"env,omitempty"`
	// Args are the guest's arguments after its name.
	Args []string `json:"args,omitempty"`
	// Isolation says what a request shares with those before it: IsolationReset (nothing: memory is put back to how it
	// was before the first one), IsolationFresh (nothing: each has a new instance) or IsolationShared (instances go on
	// as they are). Empty: IsolationReset.
	Isolation string `json:"isolation,omitempty"`
	// HTTP names the way in which the module serves HTTP: one of HTTPModes. Empty: what it imports and exports decides.
	HTTP string `json:"http,omitempty"`
	// Egress lists what the guest may reach on the network, such as "tcp:db.example.com:5432" or "dns". Empty: nothing.
	Egress []string `json:"egress,omitempty"`
	// Limits bound what a request may use.
	Limits Limits `json:"limits,omitempty"`
}

// AppStatus is what is.
//
// +k8s:deepcopy-gen=true
type AppStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Ready (enough pods of the active version serve) and Progressing (a rollout is under way).
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// URL is where the app answers.
	URL string `json:"url,omitempty"`
	// LatestVersion is the highest version ever made of this App.
	LatestVersion int64 `json:"latestVersion,omitempty"`
	// ActiveVersion is the version that the pods are, or are being made to be.
	ActiveVersion int64 `json:"activeVersion,omitempty"`
	// Replicas counts all pods; UpdatedReplicas those of the active version; ReadyReplicas those that serve.
	Replicas        int32 `json:"replicas,omitempty"`
	UpdatedReplicas int32 `json:"updatedReplicas,omitempty"`
	ReadyReplicas   int32 `json:"readyReplicas,omitempty"`
	// ColdStartMicros and CompileMicros are what the runtime measured on a pod of the active version, in
	// microseconds.
	ColdStartMicros int64 `json:"coldStartMicros,omitempty"`
	CompileMicros   int64 `json:"compileMicros,omitempty"`
	// ColdStart is all that the runtime measured of starting the active version, and how it runs it.
	ColdStart *ColdStart `json:"coldStart,omitempty"`
}

// Condition types and reasons of an App.
const (
	AppReady       = "Ready"
	AppProgressing = "Progressing"

	ReasonServing          = "Serving"          // Ready: every wanted pod of the active version serves
	ReasonRollingOut       = "RollingOut"       // Progressing: pods of the active version are coming up
	ReasonRolledOut        = "RolledOut"        // not Progressing: the rollout is done
	ReasonPodsNotReady     = "PodsNotReady"     // not Ready: too few pods serve
	ReasonNoVersion        = "NoVersion"        // not Ready: nothing has been deployed yet
	ReasonScaledToZero     = "ScaledToZero"     // not Ready: replicas is 0
	ReasonDeadlineExceeded = "DeadlineExceeded" // not Progressing: the rollout made no progress for too long
	ReasonInvalid          = "Invalid"          // not Ready: the Deployment or the Service was refused
	ReasonNameTaken        = "NameTaken"        // not Ready: an object of that name belongs to someone else
)

// AppList is a list of Apps.
//
// +k8s:deepcopy-gen=true
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type AppList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []App `json:"items"`
}
