#!/bin/sh
# Installs workerd, at the version and with the hashes of package-lock.json, below the given directory, and prints the
# path of its binary. What is there already is not fetched again. No package's own scripts are run.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=$1

case $(uname -s)-$(uname -m) in
Linux-x86_64) platform=linux-64 ;;
Linux-aarch64) platform=linux-arm64 ;;
*)
	echo "unavailable: no workerd is pinned for $(uname -s) on $(uname -m)" >&2
	exit 1
	;;
esac
binary=$cache/node_modules/@cloudflare/workerd-$platform/bin/workerd

if ! [ -x "$binary" ] || ! cmp -s "$here/package-lock.json" "$cache/package-lock.json"; then
	if ! command -v npm >/dev/null; then
		echo 'unavailable: workerd comes from npm, which is not installed (Debian: apt-get install npm)' >&2
		exit 1
	fi
	mkdir -p "$cache"
	cp "$here/package.json" "$here/package-lock.json" "$cache/"
	if ! npm ci --prefix "$cache" --ignore-scripts --no-audit --no-fund >"$cache/npm.log" 2>&1 || ! [ -x "$binary" ]; then
		rm -f "$cache/package-lock.json" # so that the next run tries again
		echo "unavailable: npm cannot install workerd: $(tail -n 3 "$cache/npm.log")" >&2
		exit 1
	fi
fi
echo "$binary"
