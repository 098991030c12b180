#!/usr/bin/env bash
# Builds the pinned control plane (etcd, kube-apiserver, kube-controller-manager, kubectl, helm) once, and prints the
# folder that holds it. The cache is keyed by go.sum and lives outside target/; KUBEBUILDER_ASSETS, if set, is used instead.
# K8S=1.33 builds the oldest supported Kubernetes beside it, with the same etcd and helm.
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

# build MODULE NAME PROGRAM...: the programs of a Go module in a folder of the cache; its path is in $bin.
build() {
  local module=$1 name=$2 key version minor started program output; shift 2
  local stamp=k8s.io/component-base/version
  key=$(cat "$module/go.mod" "$module/go.sum" | sha256sum | cut -c1-16)
  bin=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/$name-$key
  mkdir -p "$(dirname "$bin")"
  exec 9>"$bin.lock"; flock 9 # two builds at once would only be slower
  [ ! -e "$bin/complete" ] || return 0
  command -v go >/dev/null || { echo "Go is needed once, to build the control plane: https://go.dev/doc/install" >&2; exit 1; }
  echo "building the control plane into $bin (once; about 7 minutes on two cores)" >&2
  mkdir -p "$bin"
  cd "$module"
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=${version#v1.}; minor=${minor%%.*}
  started=$SECONDS
  for program in "$@"; do
    output=${program##*/}; [ "$program" = go.etcd.io/etcd/server/v3 ] && output=etcd
    go build -trimpath -o "$bin/$output" \
      -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor" "$program"
    echo "  $output after $((SECONDS - started)) s" >&2
  done
  touch "$bin/complete"
}

kubernetes=(k8s.io/kubernetes/cmd/{kubectl,kube-controller-manager,kube-apiserver})
build "$here" control-plane go.etcd.io/etcd/server/v3 "${kubernetes[@]}" helm.sh/helm/v4/cmd/helm
case ${K8S:-} in
  '') ;;
  1.33)
    newest=$bin
    build "$here/oldest" control-plane-1.33 "${kubernetes[@]}"
    ln -sf "$newest/etcd" "$newest/helm" "$bin/" ;;
  *) echo "K8S=$K8S: there are the newest Kubernetes (leave it out) and 1.33, the oldest that is supported" >&2; exit 1 ;;
esac
echo "$bin"
