#!/bin/sh
# run.sh PACKAGES FLAGS...: go test FLAGS of PACKAGES (a list with spaces). A test that fails is run once more, whole and
# by itself, if it is one of at most three and the race detector found nothing: the suites start real clusters, and one long
# pause of a machine that others load must not cost a run of 20 minutes. Nothing is hidden: the first failure stays
# in the output, and what passed only then is named at the end. Such a test is a defect like any other.
set -eu

bin=$(dirname "$0")/../bin/tools
packages=$1
shift
flaky=$(mktemp)
trap 'rm -f "$flaky"' EXIT

"$bin/gotestsum" --format standard-quiet \
	--rerun-fails=1 --rerun-fails-max-failures=3 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race \
	--rerun-fails-report "$flaky" --packages "$packages" -- "$@"
if [ -s "$flaky" ]; then
	echo "FLAKY: failed once and passed when run again (test, runs, failures):"
	cat "$flaky"
fi
