{{- define "sameface.name" -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "sameface.labels" -}}
app.kubernetes.io/name: sameface
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Labels that select pods. Call with a dict of root and component. */}}
{{- define "sameface.selector" -}}
app.kubernetes.io/name: sameface
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* URL of the Qdrant server; empty for the embedded store. */}}
{{- define "sameface.qdrantUrl" -}}
{{- if .Values.qdrant.url -}}
{{ .Values.qdrant.url }}
{{- else if .Values.qdrant.enabled -}}
http://{{ include "sameface.qdrantName" . }}:6334
{{- end -}}
{{- end -}}

{{/* Name of the Service that Qdrant's chart creates: Helm's usual rule, with this release's name and values. */}}
{{- define "sameface.qdrantName" -}}
{{- $name := default "qdrant" .Values.qdrant.nameOverride -}}
{{- if .Values.qdrant.fullnameOverride -}}
{{- .Values.qdrant.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sameface.tritonUrl" -}}
{{- if .Values.triton.url -}}
{{ .Values.triton.url }}
{{- else if .Values.triton.enabled -}}
{{ include "sameface.name" . }}-triton-headless:8001
{{- end -}}
{{- end -}}

{{/* Refuses invalid values with a reason. */}}
{{- define "sameface.check" -}}
{{- if and (not (include "sameface.qdrantUrl" .)) (gt (int .Values.service.replicas) 1) -}}
{{- fail "service.replicas is more than 1, but the replicas have no Qdrant server to share: set qdrant.url or qdrant.enabled, or set service.replicas to 1" -}}
{{- end -}}
{{- $owned := dict
  "SAMEFACE_LISTEN" "service.port"
  "SAMEFACE_DRAIN_S" "service.drainSeconds"
  "SAMEFACE_STARTUP_S" "service.startupSeconds"
  "SAMEFACE_TRITON_URL" "triton.url"
  "SAMEFACE_INFERENCE" "triton.enabled"
  "SAMEFACE_QDRANT_URL" "qdrant.url"
  "SAMEFACE_QDRANT_API_KEY" "qdrant.apiKeySecret"
-}}
{{- range $variable, $value := .Values.service.env -}}
{{- if hasKey $owned $variable -}}
{{- fail (printf "service.env sets %s, but probes, ports and volumes of this chart depend on it: set the value %s instead" $variable (get $owned $variable)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sameface.podSecurity" -}}
runAsNonRoot: true
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "sameface.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Scheduling of pods. Call with a dict of root, component, and values (the values of the component). */}}
{{- define "sameface.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- $own := dict "labelSelector" (dict "matchLabels" (fromYaml (include "sameface.selector" .))) }}
{{- range .values.topologySpreadConstraints }}
  - {{- toYaml (ternary . (merge (deepCopy .) $own) (hasKey . "labelSelector")) | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Delays SIGTERM until a stopping pod has left the endpoints. Call with the seconds. */}}
{{- define "sameface.pause" -}}
{{- if gt (int .) 0 }}
lifecycle:
  preStop:
    exec: { command: [sleep, {{ . | quote }}] }
{{- end }}
{{- end -}}
