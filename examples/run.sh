#!/usr/bin/env bash
# Starts a cluster of one node, deploys the examples with curl, calls each, runs the command-line ones, and stays up
# until Ctrl-C. What it types is printed: each line can be typed again in another terminal.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${DATA:-$PWD/.petrel}
api=${LISTEN:-127.0.0.1:8080}
gateway=${GATEWAY_LISTEN:-127.0.0.1:8081}
export PETREL_SERVER=http://$api PATH=$PWD/bin:$PATH

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
typed() {
	local line='' word
	for word; do
		[[ $word =~ ^[[:alnum:]_./=:,-]+$ ]] || word=${word@Q}
		line+="${line:+ }$word"
	done
	say "$line"
	"$@"
}

# petrel gets a session of its own: at Ctrl-C this script tells it, once. A second signal would end it at once and leave
# its pods running.
exec 3< <(exec setsid petrel up --data-dir "$data" --listen "$api" --gateway-listen "$gateway" 2>&1)
petrel=$!
stop() {
	trap - INT TERM EXIT
	kill -INT "$petrel" 2>/dev/null && echo 'stopping petrel …'
	cat <&3
	exit "${1:-0}"
}
trap 'stop $?' EXIT
trap 'stop 0' INT TERM

# It greets when its node is ready; what it says instead is why it did not come up.
while IFS= read -r line <&3; do
	printf '%s\n' "$line"
	[[ $line != Stop\ with* ]] || { up=yes; break; }
done
[ "${up:-}" = yes ] || stop 1

for app in hello httpbin; do
	say "curl -T examples/bin/$app.wasm $PETREL_SERVER/v1/apps/$app"
	curl -sS --fail-with-body -H 'Accept: text/plain' -T "examples/bin/$app.wasm" "$PETREL_SERVER/v1/apps/$app"
	echo
done

port=${gateway##*:}
say "curl http://hello.localhost:$port/"
curl -sS --fail-with-body -w '   (%{http_code} in %{time_total} s)\n' "http://hello.localhost:$port/"
say "curl http://httpbin.localhost:$port/get?shipped=by-petrel"
curl -sS --fail-with-body -w '   (%{http_code} in %{time_total} s)\n' "http://httpbin.localhost:$port/get?shipped=by-petrel"

typed petrel run examples/bin/gojq.wasm -- -n -c '[range(1; 6)] | map({n: ., square: (. * .)})'
reads() { # command, input
	[ -e "examples/bin/$1.wasm" ] || { echo; echo "(left out: $1, its compiler is not installed)"; return; }
	say "petrel run -i examples/bin/$1.wasm < $2"
	petrel run -i "examples/bin/$1.wasm" < "$2"
}
reads wordcount README.md
reads csvstat examples/csvstat/measurements.csv
typed petrel ls

printf '\nEverything above is live. In another terminal: export PATH=%s:$PATH\nCtrl-C stops it; the state stays in %s.\n' "$PWD/bin" "$data"
cat <&3
