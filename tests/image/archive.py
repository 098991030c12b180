#!/usr/bin/env python3
"""Writes a container image that holds one static program, as an archive that `ctr images import` and `docker load` take. No engine is needed.

usage: archive.py OUT.tar NAME:TAG PROGRAM UID:GID [LABEL=VALUE ...]

The program becomes the one file of the one layer, /<its name>, and the entrypoint. The archive is an OCI layout (containerd, podman, skopeo) which
also has Docker's manifest.json. Same input, same bytes: no clock and no owner is in it, and nothing is compressed.
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

MACHINES = {0x3E: "amd64", 0xB7: "arm64"}
INTERPRETER = 3  # PT_INTERP: the program asks for a dynamic linker, which this image would not have
OCI = "application/vnd.oci.image."


def architecture(elf):
    def number(at, size):
        return int.from_bytes(elf[at : at + size], "little")

    if elf[:6] != b"\x7fELF\x02\x01" or number(18, 2) not in MACHINES:
        sys.exit("not a 64-bit program for x86 or ARM")
    table, size, count = number(32, 8), number(54, 2), number(56, 2)
    if any(number(table + i * size, 4) == INTERPRETER for i in range(count)):
        sys.exit("not a static program")
    return MACHINES[number(18, 2)]


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode, data in files:
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Blobs:
    def __init__(self):
        self.files = []

    def put(self, kind, data):
        """A blob as an OCI descriptor names it."""
        digest = hashlib.sha256(data).hexdigest()
        self.files.append(("blobs/sha256/" + digest, 0o644, data))
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}


def main():
    out, name, program, user, *labels = sys.argv[1:]
    with open(program, "rb") as file:
        elf = file.read()
    platform = {"architecture": architecture(elf), "os": "linux"}
    path = os.path.basename(program)
    layer = tar([(path, 0o755, elf)])
    blobs = Blobs()
    layers = [blobs.put("layer.v1.tar", layer)]
    config = {
        **platform,
        "config": {
            "User": user,
            "WorkingDir": "/",
            "Entrypoint": ["/" + path],
            "Labels": dict(label.split("=", 1) for label in labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [layers[0]["digest"]]},
        "history": [{"created_by": f"COPY {path} /{path}"}],
    }
    config = blobs.put("config.v1+json", to_json(config))
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": layers}
    manifest = blobs.put("manifest.v1+json", to_json(manifest))
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
    index = {
        "schemaVersion": 2,
        "mediaType": OCI + "index.v1+json",
        "manifests": [{**manifest, "platform": platform, "annotations": names}],
    }
    (layer_file, _, _), (config_file, _, _), _ = blobs.files
    docker = [{"Config": config_file, "RepoTags": [name], "Layers": [layer_file]}]
    files = blobs.files + [
        ("oci-layout", 0o644, to_json({"imageLayoutVersion": "1.0.0"})),
        ("index.json", 0o644, to_json(index)),
        ("manifest.json", 0o644, to_json(docker)),
    ]
    with open(out, "wb") as file:
        file.write(tar(files))
    megabytes = [f"{len(data) / 1e6:.1f} MB" for data in (layer, gzip.compress(layer))]
    print(f"{name}, linux/{platform['architecture']}, {manifest['digest']}: {megabytes[0]}, compressed {megabytes[1]}")


def to_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


main()
