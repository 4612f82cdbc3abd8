// Package join lets machines become nodes: it knows the bootstrap tokens, decides over CertificateSigningRequests and
// signs them, and holds nodes to what is theirs.
//
// A machine shows a bootstrap token and asks for a client certificate (signer kubernetes.io/kube-apiserver-client-kubelet)
// as system:node:<name>; with that it asks for the certificate of its server (kubernetes.io/kubelet-serving), and for
// the next ones before they end. What follows these rules is approved here; everything else waits for a person
// (`kubectl certificate approve`).
//
// Invariants:
//   - A decision is a pure function of the request and of what is known of nodes and other requests.
//   - What is signed carries the names that were decided over and nothing else of the request: no group, no name, no
//     usage comes from a client unchecked, also where a person approved.
//   - A node's name belongs to whoever had it first until the Node is deleted.
//   - No key, token or secret is logged.
//
// It may import controlplane/api, auth, pki and resource, k8s.io/api, apimachinery and client-go.
package join
