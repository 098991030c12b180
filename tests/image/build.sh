#!/usr/bin/env bash
# Builds the static `rolecall` and makes its image without a container engine. Writes into target/image:
#   rolecall           the program, static, with its list of dependencies inside (`cargo audit bin` reads that)
#   rolecall.tar       the image, for `ctr -n k8s.io images import` and `docker load`
#   rolecall.cdx.json  the bill of materials, CycloneDX
# IMAGE is the image's name (by default the chart's); REVISION, if set, becomes its label; PROFILE=dev builds sooner what runs slower.
# Installs what is missing: Debian's musl-tools, the Rust target, cargo-auditable, cargo-cyclonedx.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
read -ra cargo <<<"${CARGO:-cargo}"
target=$(uname -m)-unknown-linux-musl
profile=${PROFILE:-release}
built=${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}/rolecall
out=target/image
field() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" Cargo.toml | head -1; }

# --- what it needs ------------------------------------------------------------------------------------
if ! command -v musl-gcc >/dev/null; then # some dependencies have C in them
  echo "installing musl-tools (once)" >&2
  { apt-get update -qq && apt-get install -y -qq musl-tools; } >&2
fi
rustup target list --installed | grep -qx "$target" || rustup --quiet target add "$target"
for tool in cargo-auditable cargo-cyclonedx; do
  command -v "$tool" >/dev/null || {
    echo "installing $tool (once; a minute or two)" >&2
    "${cargo[@]}" install --locked --quiet "$tool"
  }
done

# --- the program, the image, the bill of materials ----------------------------------------------------
"${cargo[@]}" auditable build --profile "$profile" --config profile.dev.strip=true --locked --target "$target" --bin rolecall
mkdir -p "$out"
cp "$built" "$out/rolecall"
version=$(field version)
image=${IMAGE:-$(sed -n 's/^  repository: //p' charts/rolecall/values.yaml):$version}
labels=(
  "org.opencontainers.image.title=rolecall"
  "org.opencontainers.image.description=$(field description)"
  "org.opencontainers.image.version=$version"
  "org.opencontainers.image.licenses=$(field license)"
)
for label in "${labels[@]}"; do
  grep -qF "${label%%=*}=\"${label#*=}\"" Dockerfile || { echo "Dockerfile has another ${label%%=*} than Cargo.toml" >&2; exit 1; }
done
[ -n "${REVISION:-}" ] && labels+=("org.opencontainers.image.revision=$REVISION")
python3 tests/image/archive.py "$out/rolecall.tar" "$image" "$out/rolecall" 65532:65532 "${labels[@]}"
# With a fixed date the file has no serial number either; and where it was made is nobody's business: same dependencies, same bytes.
SOURCE_DATE_EPOCH=0 "${cargo[@]}" cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --override-filename rolecall.cdx
sed "s|path+file://$PWD#||g" rolecall.cdx.json >"$out/rolecall.cdx.json" # it can only be written beside Cargo.toml
rm rolecall.cdx.json
