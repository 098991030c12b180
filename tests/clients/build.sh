#!/usr/bin/env bash
# Makes a Python environment with other people's SCIM clients and testers once, and prints the folder of its programs. The cache is keyed by
# requirements.txt and lives outside target/. About 20 seconds cold.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=$(sha256sum <"$here/requirements.txt" | cut -c1-16)
folder=${ROLECALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rolecall}/scim-clients-$key
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"; flock 9
if [ ! -e "$folder/complete" ]; then
  if ! python3 -c 'import ensurepip' 2>/dev/null; then
    echo "installing python3-venv (once)" >&2
    { apt-get update -qq && apt-get install -y -qq python3-venv; } >&2
  fi
  echo "installing scim2-tester and scim2-cli into $folder (once)" >&2
  rm -rf "$folder"
  python3 -m venv "$folder" >&2
  "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  touch "$folder/complete"
fi
echo "$folder/bin"
