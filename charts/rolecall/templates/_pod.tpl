{{/* What the pods of both parts have alike. Each takes (dict "root" $ "part" "gateway"). */}}

{{/* Labels of the pods: none of them may change what selects them. No version of the chart: its upgrade alone restarts nothing. */}}
{{- define "rolecall.podLabels" -}}
{{- $values := index .root.Values .part -}}
{{- $selector := include "rolecall.selector" . | fromYaml -}}
{{- mergeOverwrite (dict "app.kubernetes.io/part-of" "rolecall") .root.Values.commonLabels $values.podLabels $selector | toYaml -}}
{{- end -}}

{{/* Where and how a pod runs, before its containers. */}}
{{- define "rolecall.podSettings" -}}
{{- $values := index .root.Values .part -}}
serviceAccountName: {{ include "rolecall.fullname" .root }}-{{ .part }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "rolecall.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "rolecall.selector" $ | fromYaml)) "matchLabelKeys" (list "pod-template-hash") }}
- {{ ternary . (mergeOverwrite $own .) (hasKey . "labelSelector") | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Pod Security `restricted`, for every pod of the chart. The group may read what is mounted from Secrets. Takes the root. */}}
{{- define "rolecall.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ . | int64 }}
runAsGroup: {{ . | int64 }}
fsGroup: {{ . | int64 }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The first lines of every container. Takes the root. */}}
{{- define "rolecall.container" -}}
image: {{ include "rolecall.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Flags that both parts take. */}}
{{- define "rolecall.args" -}}
- --log-format={{ .root.Values.logFormat }}
- {{ printf "--log=%s" .root.Values.logLevel | quote }}
- --namespace={{ .root.Release.Namespace }}
{{- with .root.Values.class }}
- --class={{ . }}
{{- end }}
- --identity=$(POD_NAME)
- {{ printf "--health-address=%s:8081" .root.Values.listenHost | quote }}
{{- with .root.Values.publicUrl }}
- {{ printf "--public-url=%s" . | quote }}
{{- end }}
{{- end -}}

{{/* The rest of both containers. Liveness asks nothing but the process itself: an API server that is away is no reason to start anew. */}}
{{- define "rolecall.containerRest" -}}
{{- $values := index .root.Values .part -}}
env:
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end -}}

{{- define "rolecall.mounts" -}}
{{- $values := index .root.Values .part -}}
- {name: kube-api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- with $values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the kubelet would mount by itself, if every pod of the ServiceAccount were to have a token. */}}
{{- define "rolecall.volumes" -}}
{{- $values := index .root.Values .part -}}
- name: kube-api-access
  projected:
    sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Helm merges values, so that a `Recreate` would still have the `rollingUpdate` of the default. */}}
{{- define "rolecall.strategy" -}}
{{- ternary . (dict "type" .type) (eq .type "RollingUpdate") | toYaml -}}
{{- end -}}
