#!/usr/bin/env bash
# Installs other people's SCIM service providers once, for make bench, and prints their folder: `scimmy.mjs` for node, `venv/bin/scim2-server`. The
# cache is keyed by this folder's contents and lives outside target/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=$(cat "$here"/{package-lock.json,requirements.txt,scimmy.mjs} | sha256sum | cut -c1-16)
folder=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/scim-peers-$key
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"; flock 9
if [ ! -e "$folder/complete" ]; then
  need=()
  command -v npm >/dev/null || need+=(nodejs npm)
  python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
  if [ ${#need[@]} -gt 0 ]; then
    echo "installing ${need[*]} (once)" >&2
    { apt-get update -qq && apt-get install -y -qq "${need[@]}"; } >&2
  fi
  echo "installing scimmy-routers and scim2-server into $folder (once)" >&2
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$here"/{package.json,package-lock.json,scimmy.mjs} "$folder"
  npm ci --silent --prefix "$folder" >&2
  python3 -m venv "$folder/venv" >&2
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  touch "$folder/complete"
fi
echo "$folder"
