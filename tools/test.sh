#!/bin/sh
# The test suite: with the race detector where there is a C compiler, and with
# a loud list of what was skipped and why.
set -u
go=${GO:-go}
race=-race
if ! command -v gcc >/dev/null 2>&1 && ! command -v clang >/dev/null 2>&1; then
	race=
	echo "NOTE: no C compiler: the suite runs without the race detector (make deps)"
fi
log=$(mktemp)
trap 'rm -f "$log" "$log.status"' EXIT
{
	CGO_ENABLED=${race:+1}
	export CGO_ENABLED=${CGO_ENABLED:-0}
	$go test $race -timeout 20m -v ./... 2>&1
	status=$?
	# Tools are modules of their own, so that what they need is not the program's.
	for tool in tools/links tools/peers; do
		$go test -C "$tool" $race -timeout 5m -v ./... 2>&1 || status=1
	done
	echo "$status" >"$log.status"
} | tee "$log" | awk '
	# Passing detail is left out; failures, skips and package results stay.
	/^=== (RUN|PAUSE|CONT|NAME)/ { next }
	/^ *--- PASS/ { passed++; next }
	/^PASS$/ { next }
	{ print }'
status=$(cat "$log.status")
skipped=$(grep -ac '^ *--- SKIP' "$log")
if [ "$skipped" -gt 0 ]; then
	echo
	echo "SKIPPED $skipped tests; each says why above. What they need: make deps"
	grep -a '^ *--- SKIP' "$log"
fi
passed=$(grep -ac '^ *--- PASS' "$log")
failed=$(grep -ac '^ *--- FAIL' "$log")
echo
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
