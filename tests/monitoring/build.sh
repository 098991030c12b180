#!/usr/bin/env bash
# Takes promtool out of Debian's package prometheus once, without installing it, and prints the folder that it is in. The cache lives outside target/.
# About 20 seconds cold.
set -euo pipefail
folder=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/promtool
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"; flock 9
if [ ! -e "$folder/complete" ]; then
  echo "fetching promtool into $folder (once)" >&2
  rm -rf "$folder" && mkdir "$folder"
  # apt drops its rights to fetch: the folder has to be one that it may write
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; chmod 777 "$work"
  (cd "$work" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; }) >&2
  dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$folder" --strip-components=3 ./usr/bin/promtool
  "$folder/promtool" --version >&2
  touch "$folder/complete"
fi
echo "$folder"
