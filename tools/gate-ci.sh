#!/bin/sh
# Compares this checkout's build with that of an earlier commit: `make gate-ci`.
# docs/gate.md, "In this repository's CI", says which commit and why.
set -eu
program=${1:?"usage: gate-ci.sh PROGRAM"}
go=${GO:-go}

# About 20 s a scenario, twice that and more where the machine is loud: 4 minutes in all at most.
flags="--ci --together --connections 16 --block 100ms --pairs 48 --scenario reverse,record,replay,rules"
bound=240

say() { echo "gate-ci: $*"; }
loud() {
	echo "gate-ci: ************************************************************"
	while [ $# -gt 0 ]; do echo "gate-ci: *** $1"; shift; done
	echo "gate-ci: ************************************************************"
}

# The newest commit before HEAD that may be compared with.
mark='^Gate-baseline: '
find_base() {
	if [ -n "${GATE_BASELINE:-}" ]; then
		git rev-parse --verify --quiet "$GATE_BASELINE^{commit}" && return
	fi
	accepted=$(git log -1 --format=%H --grep="$mark" HEAD~1 2>/dev/null || true)
	tag=$(git describe --tags --abbrev=0 HEAD~1 2>/dev/null || true)
	[ -z "$tag" ] || tag=$(git rev-parse --verify --quiet "$tag^{commit}")
	if [ -n "$accepted" ] && [ -n "$tag" ]; then
		# The later of the two.
		if git merge-base --is-ancestor "$accepted" "$tag"; then echo "$tag"; else echo "$accepted"; fi
		return
	fi
	if [ -n "$accepted$tag" ]; then echo "$accepted$tag"; return; fi
	main=$(git merge-base HEAD refs/remotes/origin/HEAD 2>/dev/null || true)
	if [ -n "$main" ] && [ "$main" != "$(git rev-parse HEAD)" ]; then echo "$main"; return; fi
	git rev-parse --verify --quiet HEAD~1 || true
}

# CI's clones are often shallow.
if [ "$(git rev-parse --is-shallow-repository 2>/dev/null || echo false)" = true ]; then
	say "this clone is shallow: asking its origin for more"
	timeout 60 git fetch --quiet --tags --deepen=500 origin 2>/dev/null || say "the origin gave nothing more"
fi
if ! git rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
	loud "NOTHING WAS COMPARED: this is no git checkout, so there is no earlier build"
	exit 0
fi
base=$(find_base)
if [ -z "$base" ]; then
	loud "NOTHING WAS COMPARED: this clone holds no commit before $(git rev-parse --short HEAD)" \
		"A deeper clone helps, or GATE_BASELINE=COMMIT."
	exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Not every commit of the past builds; one before it may.
tries=10
until mkdir "$dir/src" && git archive "$base" | tar -x -C "$dir/src" &&
	(cd "$dir/src" && CGO_ENABLED=0 $go build -trimpath -buildvcs=false -o "$dir/understudy" ./cmd/understudy) 2>"$dir/why"; do
	say "$(git log -1 --format='%h' "$base") does not build: $(head -n 2 "$dir/why" | tail -n 1)"
	rm -rf "$dir/src"
	tries=$((tries - 1))
	base=$(git rev-parse --verify --quiet "$base~1" || true)
	if [ "$tries" = 0 ] || [ -z "$base" ]; then
		loud "NOTHING WAS COMPARED: no earlier commit in this clone builds"
		exit 0
	fi
done

on_purpose=$(git log --format=%b "$base..HEAD" --grep="$mark" | grep "$mark" | head -n 1 || true)
since=$(git rev-list --count "$base..HEAD")
loud "COMPARED: this checkout, $(git log -1 --format='%h %s' HEAD)" \
	"    WITH: $(git log -1 --format='%h %s (%as)' "$base"), commits between: $since"

measure() {
	code=0
	timeout "$bound" "$program" gate --budget .ci/gate.yaml --baseline "$dir/understudy" $flags || code=$?
}
measure
if [ "$code" = 99 ] && [ -z "$on_purpose" ]; then
	say "once more: what is slower is so twice"
	measure
fi
if [ "$code" = 99 ] && [ -n "$on_purpose" ]; then
	loud "SLOWER, AND ACCEPTED by this commit: ${on_purpose#*: }"
	exit 0
fi
case $code in
0) ;;
99)
	loud "SLOWER than the limits of .ci/gate.yaml allow." \
		"Mend it; or accept it with a line in the commit's message:" \
		"    Gate-baseline: what got slower, and what for"
	;;
124)
	loud "UNDECIDED after $bound s: the machine is too busy. It does not fail the build."
	code=0
	;;
*)
	loud "NOT MEASURED (exit $code): does the program of that time know these arguments?" \
		"If it cannot, a line in the commit's message makes this commit the new baseline:" \
		"    Gate-baseline: why the two cannot be compared"
	[ -z "$on_purpose" ] || code=0
	;;
esac
exit "$code"
