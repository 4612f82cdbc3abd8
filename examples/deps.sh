#!/bin/sh
# Installs what the C and the Rust examples are built with, from Debian. Without root it says what is missing.
set -eu

packages='clang lld wasi-libc libclang-rt-dev-wasm32 rustc libstd-rust-dev-wasm32'

missing=''
for p in $packages; do
	# The runtime library comes under a name with clang's version too, and either will do.
	case $p in libclang-rt-dev-wasm32) names='libclang-rt-dev-wasm32 libclang-rt-*-dev-wasm32' ;; *) names=$p ;; esac
	# shellcheck disable=SC2086 # several names, and a pattern for dpkg
	dpkg-query -W -f '${Status}\n' $names 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "examples: not a Debian system: install clang for wasm32-wasi, wasi-libc and Rust's WASI target yourself, or do without wordcount, greet and csvstat" >&2
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "examples: without root the C and Rust examples are left out; they need:$missing" >&2
	exit 0
fi
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive # install files, start nothing
# shellcheck disable=SC2086
apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
	apt-get update >/dev/null
	apt-get install -y --no-install-recommends $missing >/dev/null
}
