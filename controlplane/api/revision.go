package api

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Revision is the record of one version of an App. It is owned by the App and its spec never changes; its creation
// is metadata.creationTimestamp.
//
// +k8s:deepcopy-gen=true
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type Revision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec RevisionSpec `json:"spec,omitempty"`
}

// RevisionSpec is what the version is made of, and what is known of its module.
//
// +k8s:deepcopy-gen=true
type RevisionSpec struct {
	// App is the name of the App, in the same namespace.
	App string `json:"app"`
	// Version counts from 1.
	Version int64 `json:"version"`

	// AppTemplate is the code and configuration. Image is by digest wherever the control plane could resolve it.
	AppTemplate `json:",inline"`

	// Source is the image as the App names it, where Image says it more exactly: a tag that was resolved.
	Source string `json:"source,omitempty"`
	// ConfigHash is a digest over env, args and limits: two versions with the same module and ConfigHash behave
	// the same.
	ConfigHash string `json:"configHash,omitempty"`
	// Module describes the binary. It is missing where the image is kept in a registry that the control plane
	// does not read.
	Module *ModuleInfo `json:"module,omitempty"`
}

// ModuleInfo is what the binary says of itself.
//
// +k8s:deepcopy-gen=true
type ModuleInfo struct {
	// Digest is the binary's own, "sha256:…": the image's digest is that of its manifest.
	Digest string `json:"digest"`
	// Size is the binary's length in bytes.
	Size int64 `json:"size"`
	// Kind is KindReactor or KindCommand.
	Kind string `json:"kind,omitempty"`
	// Imports are the host functions that it needs, as "module.name".
	Imports []string `json:"imports,omitempty"`
}

// RevisionName is the name of the Revision object of an App's version.
func RevisionName(app string, version int64) string {
	return app + "-v" + strconv.FormatInt(version, 10)
}

// RevisionList is a list of Revisions.
//
// +k8s:deepcopy-gen=true
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type RevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Revision `json:"items"`
}
