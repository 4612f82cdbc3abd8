package e2e

import (
	"strings"
	"testing"
)

// guarded is a NetworkPolicy with a peer of each kind. Protocols are named: kubectl takes their default for a change.
const guarded = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guarded}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
    - namespaceSelector: {matchLabels: {team: red}}
    ports: [{port: 5432, protocol: TCP}]
  egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
    ports: [{port: 8000, endPort: 8080, protocol: TCP}]
`

// TestNetworkPolicy takes one through what kubectl does with any object.
func TestNetworkPolicy(t *testing.T) {
	w := newWorld(t)
	contains(t, w.apply(guarded), "networkpolicy.networking.k8s.io/guarded created")
	contains(t, w.apply(guarded), "unchanged")
	matches(t, w.kubectl("get", "netpol"), `^NAME +POD-SELECTOR +AGE$`, `^guarded +app=db +\d+s$`)
	matches(t, w.kubectl("describe", "networkpolicy", "guarded"), `PodSelector: +app=db$`, `To Port: +5432/TCP$`,
		`PodSelector: +app=web$`, `NamespaceSelector: +team=red$`, `CIDR: +10\.0\.0\.0/8$`, `Except: +10\.1\.0\.0/16$`, `Policy Types: +Ingress, Egress$`)
	contains(t, w.apply(strings.ReplaceAll(guarded, "5432", "5433"), "--server-side", "--force-conflicts"), "serverside-applied")
	equal(t, "port", w.kubectl("get", "netpol", "guarded", "-o", "jsonpath={.spec.ingress[0].ports[0].port} {.metadata.generation}"), "5433 2")
	matches(t, w.kubectl("explain", "netpol.spec.egress.to.ipBlock"), `^KIND: +NetworkPolicy$`, `except`)
	_, err := w.k.Run(t.Context(), strings.ReplaceAll(guarded, "10.1.0.0/16", "11.0.0.0/16"), "apply", "-f", "-")
	if err == nil {
		t.Fatal("an exception outside its block was taken")
	}
	contains(t, err.Error(), "spec.egress[0].to[0].ipBlock.except[0]")
	contains(t, w.kubectl("delete", "netpol", "guarded"), "deleted")
}
