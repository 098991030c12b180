{{/* The name that every object begins with: at most 40 characters, so that the longest suffix still fits into a name. */}}
{{- define "rolecall.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object; those of the value commonLabels cannot take the place of the chart's own. */}}
{{- define "rolecall.labels" -}}
{{- include "rolecall.labelsWith" (dict "root" . "own" dict) -}}
{{- end -}}

{{/* The same for an object of one part: (dict "root" $ "part" "gateway"). */}}
{{- define "rolecall.partLabels" -}}
{{- include "rolecall.labelsWith" (dict "root" .root "own" (dict "app.kubernetes.io/component" .part)) -}}
{{- end -}}

{{- define "rolecall.labelsWith" -}}
{{- $own := dict
    "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_")
    "app.kubernetes.io/name" (default .root.Chart.Name .root.Values.nameOverride)
    "app.kubernetes.io/instance" .root.Release.Name
    "app.kubernetes.io/version" .root.Chart.AppVersion
    "app.kubernetes.io/part-of" "rolecall"
    "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels $own .own | toYaml -}}
{{- end -}}

{{/* What selects the pods of one part: (dict "root" $ "part" "gateway"). It can never change, so it is of names only. */}}
{{- define "rolecall.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* The usernames of the two ServiceAccounts. */}}
{{- define "rolecall.gatewayUser" -}}system:serviceaccount:{{ .Release.Namespace }}:{{ include "rolecall.fullname" . }}-gateway{{- end -}}
{{- define "rolecall.controllerUser" -}}system:serviceaccount:{{ .Release.Namespace }}:{{ include "rolecall.fullname" . }}-controller{{- end -}}

{{/* What is protected in any case comes first. */}}
{{- define "rolecall.protectedNamespaces" -}}
{{- prepend .Values.accessPolicy.protectedNamespaces .Release.Namespace | uniq | toJson -}}
{{- end -}}

{{/* A text as a CEL literal. JSON's escapes are CEL's too. */}}
{{- define "rolecall.cel" -}}{{ . | toJson }}{{- end -}}

{{/* A list of texts as CEL: an empty one must still be a list of texts, for `cond ? a : b` to have one type. */}}
{{- define "rolecall.celList" -}}
{{- if . -}}{{ . | toJson }}{{- else -}}[""].filter(none, false){{- end -}}
{{- end -}}

{{- define "rolecall.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* The host that providers use, without a port; empty when publicUrl is. An IPv6 address loses its brackets. */}}
{{- define "rolecall.publicHost" -}}
{{- with .Values.publicUrl }}{{ regexReplaceAll "^\\[|\\]$|:[0-9]+$" (urlParse .).host "" }}{{ end -}}
{{- end -}}

{{/* The gateway's Service as others in the cluster call it, whatever the cluster's own domain is. */}}
{{- define "rolecall.serviceHost" -}}{{ include "rolecall.fullname" . }}-gateway.{{ .Release.Namespace }}.svc{{- end -}}

{{/* The Secret with the gateway's certificate. */}}
{{- define "rolecall.tlsSecret" -}}{{ .Values.tls.secretName | default (printf "%s-tls" (include "rolecall.fullname" .)) }}{{- end -}}

{{/* The names in a certificate that the chart asks for, as JSON. */}}
{{- define "rolecall.tlsNames" -}}
{{- $service := include "rolecall.serviceHost" . -}}
{{- $own := list $service (printf "%s.cluster.local" $service) (trimSuffix ".svc" $service) (printf "%s-gateway" (include "rolecall.fullname" .)) -}}
{{- .Values.tls.dnsNames | default (prepend $own (include "rolecall.publicHost" .) | compact | uniq) | toJson -}}
{{- end -}}

{{/* Of a list of names, as JSON, those that are addresses, or those that are not: (dict "names" $names "addresses" true). */}}
{{- define "rolecall.addresses" -}}
{{- $found := list -}}
{{- range .names -}}
{{- if eq $.addresses (regexMatch "^[0-9.]+$|:" .) -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* Whether an object of somebody else's API is made: (dict "root" $ "api" "group/version/Kind" "settings" $settings). Empty: no. */}}
{{- define "rolecall.rendered" -}}
{{- $known := .root.Capabilities.APIVersions.Has .api -}}
{{- if .settings.enabled -}}
{{- if or $known (eq .settings.renderMode "alwaysRender") -}}yes
{{- else if eq .settings.renderMode "failIfMissing" -}}
{{- fail (printf "the cluster does not know %s (renderMode: failIfMissing)" .api) -}}
{{- end -}}
{{- end -}}
{{- end -}}
