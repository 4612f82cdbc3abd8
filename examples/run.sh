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
type_() { say "$*"; "$@"; }

# petrel gets a process group of its own: at Ctrl-C this script tells it, once.
set -m
petrel up --data-dir "$data" --listen "$api" --gateway-listen "$gateway" &
petrel=$!
set +m
trap 'trap - INT TERM EXIT; kill -INT "$petrel" 2>/dev/null || true; wait "$petrel" || exit $?; exit 0' INT TERM EXIT

for _ in $(seq 600); do
	curl -fso /dev/null "$PETREL_SERVER/readyz" && break
	kill -0 "$petrel" 2>/dev/null || { wait "$petrel"; exit 1; }
	sleep 0.1
done

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

type_ petrel run examples/bin/gojq.wasm -- -n -c '[range(1; 6)] | map({n: ., square: (. * .)})'
for command in wordcount csvstat; do
	[ -e "examples/bin/$command.wasm" ] || { echo; echo "(left out: $command, its compiler is not installed)"; continue; }
	type_ petrel run "examples/bin/$command.wasm"
done
type_ petrel ls

printf '\nEverything above is live. In another terminal: export PATH=%s:$PATH\nCtrl-C stops it; the state stays in %s.\n' "$PWD/bin" "$data"
while kill -0 "$petrel" 2>/dev/null; do wait "$petrel" || true; done
