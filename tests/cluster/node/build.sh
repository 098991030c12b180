#!/usr/bin/env bash
# Builds what a node has beyond the control plane (kubelet, kube-proxy, kube-scheduler, runc, the image of a pod's sandbox) once, and prints the
# folder that holds it. Installs containerd, the CNI plugins and iptables from Debian where they are missing. Only `make e2e` needs it.
# The cache is keyed by this folder's files and lives outside target/. About 2 minutes on two cores once the control plane is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
need=()
command -v containerd >/dev/null || need+=(containerd)
command -v iptables >/dev/null || need+=(iptables)
[ -x /usr/lib/cni/bridge ] || need+=(containernetworking-plugins)
[ -e /usr/include/seccomp.h ] || need+=(libseccomp-dev pkg-config) # runc without it would refuse the chart's seccomp profile
if [ ${#need[@]} -gt 0 ]; then
  echo "installing ${need[*]} (once)" >&2
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${need[@]}"; } >&2
fi
key=$(cat "$here"/{go.mod,go.sum,pause.c} | sha256sum | cut -c1-16)
bin=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/node-$key
mkdir -p "$(dirname "$bin")"
exec 9>"$bin.lock"; flock 9
if [ ! -e "$bin/complete" ]; then
  command -v go >/dev/null || { echo "Go is needed once, to build the node's programs: https://go.dev/doc/install" >&2; exit 1; }
  echo "building the node's programs into $bin (once)" >&2
  mkdir -p "$bin"
  cd "$here"
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=${version#v1.}; minor=${minor%%.*}; stamp=k8s.io/component-base/version
  started=$SECONDS
  for program in k8s.io/kubernetes/cmd/{kube-scheduler,kube-proxy,kubelet} github.com/opencontainers/runc; do
    go build -trimpath -tags seccomp -o "$bin/${program##*/}" \
      -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor" "$program"
    echo "  ${program##*/} after $((SECONDS - started)) s" >&2
  done
  cc -static -O2 -s -o "$bin/pause" pause.c
  python3 ../../image/archive.py "$bin/pause.tar" localhost/pause:1 "$bin/pause" 65535:65535 >/dev/null
  touch "$bin/complete"
fi
echo "$bin"
