#!/bin/sh
# Builds helm from its Go module into .cache/helm/. The version is pinned by go.mod and go.sum beside this file. What was built from
# exactly these files is left as it is, so calling this again costs nothing. Needs the Go that go.mod names, and no C compiler.
#
# Nothing is built where another is brought: TEST_HELM=FILE.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
into=$root/.cache/helm

fail() {
    echo "helm: $1" >&2
    exit 1
}

if [ -n "${TEST_HELM:-}" ]; then
    [ -x "$TEST_HELM" ] || fail "TEST_HELM is set, but $TEST_HELM is no program; name helm 4's, or unset TEST_HELM to have it built"
    exit 0
fi

mkdir -p "$into"
# Two at once would build the same twice; where there is no flock, whoever calls this calls it once.
if [ "${HELM_LOCKED:-}" != yes ] && command -v flock >/dev/null 2>&1; then
    HELM_LOCKED=yes exec flock "$into/.lock" sh "$here/build.sh" "$@"
fi

# The machine belongs to the key: a checkout may be seen from two.
key="$(cat "$here/go.mod" "$here/go.sum" "$here/build.sh" | cksum) $(uname -sm)"
if [ -f "$into/.built-from" ] && [ "$(cat "$into/.built-from")" = "$key" ]; then
    exit 0
fi

wanted=$(sed -n 's/^go //p' "$here/go.mod")
instead="install Go $wanted or later, or set TEST_HELM (docs/development.md)"
command -v go >/dev/null 2>&1 || fail "Go is not installed; the tests need it to build helm: $instead"
export GOTOOLCHAIN=local CGO_ENABLED=0
found=$(cd / && go env GOVERSION | sed 's/^go//; s/[ -].*//')
oldest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)
[ "$oldest" = "$wanted" ] || fail "Go $found is too old to build helm: $instead"

module=helm.sh/helm/v4
version=$(sed -n "s|^[[:space:]]*$module \(v[^ ]*\).*|\1|p" "$here/go.mod")
kubernetes=$(sed -n 's|^[[:space:]]*k8s.io/client-go v0[.]\([0-9]*\)[.].*|\1|p' "$here/go.mod")
[ -n "$version" ] && [ -n "$kubernetes" ] || fail "go.mod names no version of $module or of k8s.io/client-go; run go mod tidy in $here"
echo "helm: building $version into .cache/helm; cold, on two cores, this takes a few minutes" >&2
started=$(date +%s)
rm -f "$into/.built-from"
cd "$here"
# Helm checks a chart's kubeVersion against these where it renders without a cluster, and says its own version in releases.
go build -trimpath -buildvcs=false -o "$into/" \
    -ldflags "-s -w -X $module/internal/version.version=$version -X $module/pkg/chart/common.k8sVersionMajor=1 -X $module/pkg/chart/common.k8sVersionMinor=$kubernetes" \
    "$module/cmd/helm" >&2
echo "$key" >"$into/.built-from"
echo "helm: built in $(($(date +%s) - started)) s" >&2
