// Package client is petrel's commands that talk to a control plane: deploy, ls, logs, rm, run,
// explain, kubeconfig, token, version.
//
// They speak the deploy API, and for pods the Kubernetes API, over HTTP; they know nothing of the control plane's
// insides. Each prints text for people or, with --output json, JSON values on standard output and nothing else there;
// what they say about themselves (progress, errors, --show-http) goes to standard error.
//
// Exit codes are stable:
//
//	0    done
//	1    it failed: on the server, or while the new version was coming up
//	2    the command line is wrong
//	3    the server cannot be reached
//	4    the server refused the request: something in it has to change
//	130  interrupted
//
// petrel run ends with the program's own exit code, and with 125 where petrel itself failed.
//
// Where the control plane wants credentials, a kubeconfig has them (--kubeconfig). No command prints a secret but to
// standard output, and only where it was asked for one.
//
// It may import cobra, controlplane/api, auth, join and pki, controlplane/apps (for what travels), controlplane/registry (to push),
// wasmrt/module (to explain) and client-go.
package client
