#!/bin/sh
# Builds the containerd that go.mod pins into the directory that is named: what tests run beside Debian's version. It is
# a module of its own, for whoever builds Petrel needs nothing of it.
set -eu

out=$1
cd "$(dirname "$0")"
mkdir -p "$out"
exec 9>"$out/.lock" && flock 9 # test binaries run beside one another
module=github.com/containerd/containerd/v2
version=$(GOWORK=off go list -m -f '{{.Version}}' $module)
GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -tags 'no_btrfs no_devmapper no_zfs' \
	-ldflags "-s -w -X $module/version.Version=$version" -o "$out/" \
	$module/cmd/containerd $module/cmd/containerd-shim-runc-v2 $module/cmd/ctr
