#!/bin/sh
# Builds each *.bpf.c, or those that its arguments name, into a committed object and the Go file that embeds it. The structs that Go gets are named in the
# program's "go types:" line. Another compiler makes other bytes from the same source, so only the one below may write;
# without it what is committed stays as it is, and serves. OUT is another folder to write to.
set -eu
cd "$(dirname "$0")"

want=14
found=$(clang --version 2>/dev/null | sed -n 's/.*clang version \([0-9]*\)\..*/\1/p')
if [ "$found" != "$want" ] || ! command -v llvm-strip >/dev/null; then
	echo "ebpfproxy/bpf: clang $want and llvm-strip make the objects, here is clang ${found:-(none)}: the committed ones stay" >&2
	exit 0
fi
if [ ! -f /usr/include/bpf/bpf_helpers.h ]; then
	echo "ebpfproxy/bpf: no /usr/include/bpf/bpf_helpers.h (Debian: libbpf-dev): the committed objects stay" >&2
	exit 0
fi

[ $# -gt 0 ] || set -- *.bpf.c
for source in "$@"; do
	name=${source%.bpf.c}
	first=$(printf '%s' "$name" | cut -c1 | tr '[:lower:]' '[:upper:]')
	types=$(sed -n 's|^// go types: ||p' "$source" | tr ' ' '\n' | sed 's/^/-type /' | tr '\n' ' ')
	# shellcheck disable=SC2086
	GOPACKAGE=bpf go tool bpf2go -target bpfel -output-dir "${OUT:-.}" -output-stem "$name" $types "$first${name#?}" "$source" -- \
		-O2 -g -mcpu=v3 -Wall -Werror -I"/usr/include/$(uname -m)-linux-gnu" >/dev/null
done
