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

{{- define "rolecall.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: rolecall
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
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
