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

{{/* Labels that pods are chosen by; call with a dict of root and component. */}}
{{- define "sameface.selector" -}}
app.kubernetes.io/name: sameface
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Where templates are stored: the URL of a Qdrant server, or nothing for the embedded store. */}}
{{- define "sameface.qdrantUrl" -}}
{{- if .Values.qdrant.url -}}
{{ .Values.qdrant.url }}
{{- else if .Values.qdrant.enabled -}}
http://{{ .Release.Name }}-qdrant:6334
{{- end -}}
{{- end -}}

{{- define "sameface.tritonUrl" -}}
{{- if .Values.triton.url -}}
{{ .Values.triton.url }}
{{- else if .Values.triton.enabled -}}
{{ include "sameface.name" . }}-triton-headless:8001
{{- end -}}
{{- end -}}

{{/* What must not be installed is refused with the reason. */}}
{{- define "sameface.check" -}}
{{- if and (not (include "sameface.qdrantUrl" .)) (gt (int .Values.service.replicas) 1) -}}
{{- fail "service.replicas is more than 1 and there is no Qdrant server to share: set qdrant.url or qdrant.enabled, or service.replicas to 1" -}}
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

{{- define "sameface.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
