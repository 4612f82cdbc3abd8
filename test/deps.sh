#!/bin/sh
# Installs what the tests need beside Go, from Debian: a browser that shows an app's page, curl, ip, what makes BPF objects
# again, containerd with what it needs and a shell for its containers, a registry, and wrk for the benchmarks; or only the
# packages that its arguments name. Without root it says what is missing; the test that needs it then fails by name.
set -eu

packages=${*:-busybox-static chromium-headless-shell clang containerd containernetworking-plugins curl docker-registry iproute2 libbpf-dev lld llvm runc wrk}

missing=''
for p in $packages; do
	dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "test: install these by hand, or expect the tests that need them to say so:$missing" >&2
	exit 0
fi
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive # install files, start nothing
# shellcheck disable=SC2086
apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
	apt-get update >/dev/null
	apt-get install -y --no-install-recommends $missing >/dev/null
}
