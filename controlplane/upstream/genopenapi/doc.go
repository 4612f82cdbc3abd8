// Command genopenapi cuts Kubernetes' OpenAPI documents, which lie in the source of k8s.io/kubernetes, to the paths
// that Petrel serves and the schemas that those need, and writes them gzipped to openapi/. Run it by `go generate`
// from the folder above; it writes nothing where the content has not changed.
//
// It may import the standard library, gnostic-models and protobuf.
package main
