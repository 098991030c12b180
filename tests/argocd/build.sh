#!/usr/bin/env bash
# Builds the program that judges objects as kubectl, Helm, kstatus and Argo CD do, once, and prints its path. The cache is keyed by its files and lives
# outside target/. About a minute after the control plane was built (tests/cluster/build.sh), some three minutes cold.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=$(cat "$here"/go.{mod,sum} "$here"/*.go | sha256sum | cut -c1-16)
program=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/argocd-$key
mkdir -p "$(dirname "$program")"
exec 9>"$program.lock"; flock 9
if [ ! -x "$program" ]; then
  command -v go >/dev/null || { echo "Go is needed once, to build the tests of contrib/argocd: https://go.dev/doc/install" >&2; exit 1; }
  echo "building the tests of contrib/argocd into $program (once)" >&2
  (cd "$here" && go build -trimpath -ldflags '-s -w' -o "$program.new" .) >&2
  mv "$program.new" "$program"
fi
echo "$program"
