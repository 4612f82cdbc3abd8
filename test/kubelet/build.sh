#!/bin/sh
# Builds the kubelet of the Kubernetes release that go.mod pins into the directory that is named: for the test that has it use
# petrel-wasmrt. It takes minutes on a cold cache, so nothing builds it unasked.
set -eu

out=$(realpath -m "${1:-$(dirname "$0")/../../bin/tools}")
cd "$(dirname "$0")"
mkdir -p "$out"
module=k8s.io/component-base
version=$(GOWORK=off go list -m -f '{{.Version}}' k8s.io/kubernetes)
GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -ldflags "-s -w -X $module/version.gitVersion=$version" \
	-o "$out/kubelet" k8s.io/kubernetes/cmd/kubelet
