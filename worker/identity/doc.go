// Package identity makes a machine a node of a cluster and keeps it one: it learns the cluster's certificate authority,
// gets a client certificate and a certificate for the node's server, keeps both on disk, and renews them.
//
// Joining goes: connect over TLS and hold the authority that the server shows to the hash in the token; only then send
// the token's secret, with a CertificateSigningRequest as client-go's and kubelet's are; wait for the certificate. From
// then on the certificate is the credential, and the token may be gone.
//
//	ca.crt        the cluster's certificate authority
//	client.pem    the client certificate and its key, in one file so that both are replaced in one step
//	serving.pem   the same for the node's server
//	*.key         a key whose certificate is still to come: who asks again asks for the same
//
// Invariants: nothing secret is sent to a server whose authority is not the token's; files with keys are 0600 from the
// moment they exist; no key and no token is logged or in an error; a certificate is replaced only by a newer one that
// fits its key.
//
// It may import k8s.io/api, apimachinery and client-go.
package identity
