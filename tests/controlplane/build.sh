#!/bin/sh
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl from their Go modules into .cache/controlplane/. Versions are
# pinned by go.mod and go.sum beside this file. What was built from exactly these files is left as it is, so calling this again
# costs nothing. Needs the Go that go.mod names, about 4 GB of disk below GOCACHE and GOMODCACHE, and no C compiler.
#
# Nothing is built where others bring it: KUBEBUILDER_ASSETS=DIRECTORY with these four programs, or TEST_KUBECONFIG=FILE of a
# running cluster that the tests may write to, with kubectl on the PATH.
set -eu

kubernetes=v1.36.3

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
into=$root/.cache/controlplane

fail() {
    echo "controlplane: $1" >&2
    exit 1
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for program in etcd kube-apiserver kube-controller-manager kubectl; do
        [ -n "${TEST_KUBECONFIG:-}" ] && [ "$program" != kubectl ] && continue
        [ -x "$KUBEBUILDER_ASSETS/$program" ] ||
            fail "KUBEBUILDER_ASSETS is set, but $KUBEBUILDER_ASSETS/$program is no program; put it there (kube-controller-manager is not part of what setup-envtest downloads), or unset KUBEBUILDER_ASSETS to have all four built"
    done
    exit 0
fi
if [ -n "${TEST_KUBECONFIG:-}" ]; then
    command -v kubectl >/dev/null 2>&1 ||
        fail "TEST_KUBECONFIG is set, but kubectl is not on the PATH; install it, or set KUBEBUILDER_ASSETS to a directory that holds it"
    exit 0
fi

mkdir -p "$into"
# Two at once would build the same twice; where there is no flock, whoever calls this calls it once.
if [ "${CONTROLPLANE_LOCKED:-}" != yes ] && command -v flock >/dev/null 2>&1; then
    CONTROLPLANE_LOCKED=yes exec flock "$into/.lock" sh "$here/build.sh" "$@"
fi

# The machine belongs to the key: a checkout may be seen from two.
key="$(cat "$here/go.mod" "$here/go.sum" "$here/build.sh" | cksum) $(uname -sm)"
if [ -f "$into/.built-from" ] && [ "$(cat "$into/.built-from")" = "$key" ]; then
    exit 0
fi

wanted=$(sed -n 's/^go //p' "$here/go.mod")
instead="install Go $wanted or later, or set KUBEBUILDER_ASSETS or TEST_KUBECONFIG (docs/development.md)"
command -v go >/dev/null 2>&1 || fail "Go is not installed; the tests need it to build a real Kubernetes control plane: $instead"
export GOTOOLCHAIN=local CGO_ENABLED=0
found=$(cd / && go env GOVERSION | sed 's/^go//; s/[ -].*//')
oldest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)
[ "$oldest" = "$wanted" ] || fail "Go $found is too old to build Kubernetes $kubernetes: $instead"

minor=${kubernetes#v1.}
version=k8s.io/component-base/version
echo "controlplane: building Kubernetes $kubernetes and etcd into .cache/controlplane; cold, on two cores, this takes 10 to 20 minutes" >&2
started=$(date +%s)
rm -f "$into/.built-from"
cd "$here"
# Without the version, /version says v0.0.0 and charts refuse the server.
go build -trimpath -buildvcs=false -o "$into/" \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}" \
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kubectl >&2
go build -trimpath -buildvcs=false -o "$into/etcd" -ldflags "-s -w" go.etcd.io/etcd/server/v3 >&2
echo "$key" >"$into/.built-from"
echo "controlplane: built in $(($(date +%s) - started)) s" >&2
