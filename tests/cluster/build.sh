#!/usr/bin/env bash
# Builds the pinned control plane (etcd, kube-apiserver, kube-controller-manager, kubectl, helm) once, and prints the
# folder that holds it. The cache is keyed by go.sum and lives outside target/; KUBEBUILDER_ASSETS, if set, is used instead.
# About 7 minutes cold on two cores, seconds warm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in etcd kube-apiserver kube-controller-manager kubectl helm; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || { echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program" >&2; exit 1; }
  done
  echo "$KUBEBUILDER_ASSETS"
  exit 0
fi
key=$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c1-16)
bin=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/control-plane-$key
mkdir -p "$(dirname "$bin")"
exec 9>"$bin.lock"; flock 9 # two builds at once would only be slower
if [ ! -e "$bin/complete" ]; then
  command -v go >/dev/null || { echo "Go is needed once, to build the control plane: https://go.dev/doc/install" >&2; exit 1; }
  echo "building the control plane into $bin (once; about 7 minutes on two cores)" >&2
  mkdir -p "$bin"
  cd "$here"
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=${version#v1.}; minor=${minor%%.*}; stamp=k8s.io/component-base/version
  started=$SECONDS
  for program in go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/{kubectl,kube-controller-manager,kube-apiserver} helm.sh/helm/v4/cmd/helm; do
    name=${program##*/}; [ "$program" = go.etcd.io/etcd/server/v3 ] && name=etcd
    go build -trimpath -o "$bin/$name" \
      -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor" "$program"
    echo "  $name after $((SECONDS - started)) s" >&2
  done
  touch "$bin/complete"
fi
echo "$bin"
