package resource

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wasmHandler is the runtime handler of Wasm modules, which each node has.
const wasmHandler = "wasm"

// wasmClass is the RuntimeClass that every cluster begins with: it says of a pod that it is of Wasm modules, wherever its
// images are from. Pods of images in the cluster's own registry need not say so.
func wasmClass() *nodev1.RuntimeClass {
	return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: wasmHandler}, Handler: wasmHandler}
}
