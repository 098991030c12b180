#!/usr/bin/env bash
# Renders the chart for those who do not use Helm: dist/install.yaml (its namespace first), and dist/kustomize, a base for overlays (images, patches).
# Without the chart's keys: a file that everybody has holds no secret. docs/install.md says which two Secrets it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-dist}
helm=$(tests/cluster/build.sh)/helm
mkdir -p "$out/kustomize"
"$helm" template rolecall charts/rolecall -n rolecall --skip-tests \
  --set tls.mode=secret --set tls.secretName=rolecall-tls --set gateway.cursorKey.secretName=rolecall-cursor-key \
  2> >(grep -v 'symbolic link' >&2) >"$out/kustomize/rolecall.yaml"
cat >"$out/kustomize/namespace.yaml" <<'YAML'
apiVersion: v1
kind: Namespace
metadata:
  name: rolecall
  labels:
    pod-security.kubernetes.io/enforce: restricted
YAML
cat >"$out/kustomize/kustomization.yaml" <<'YAML'
# A base: give `images` and patches in an overlay. The access policy is part of RBAC, of a ConfigMap and of admission policies at once: render the chart for another one.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- namespace.yaml
- rolecall.yaml
YAML
{ cat "$out/kustomize/namespace.yaml"; echo ---; cat "$out/kustomize/rolecall.yaml"; } >"$out/install.yaml"
echo "$out/install.yaml and $out/kustomize"
