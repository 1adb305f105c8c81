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
  "SAMEFACE_ALLOW_PLAINTEXT" "tls.enabled"
  "SAMEFACE_TLS__CERTIFICATE" "tls.secretName"
  "SAMEFACE_TLS__PRIVATE_KEY" "tls.secretName"
  "SAMEFACE_TLS__CLIENT_CA" "tls.clientCa.secretName"
  "SAMEFACE_CLIENT_CERTIFICATE" "tls.probeSecretName"
  "SAMEFACE_CLIENT_PRIVATE_KEY" "tls.probeSecretName"
  "SAMEFACE_ACCESS__REQUIRED" "access.required"
  "SAMEFACE_ACCESS__KEYS" "access.keysSecretName"
  "SAMEFACE_ACCESS__GRANTS" "access.grants"
  "SAMEFACE_ACCESS__ISSUERS" "access.issuers"
  "SAMEFACE_AUDIT__ENABLED" "audit.enabled"
  "SAMEFACE_AUDIT__MIRROR" "audit.mirror"
  "SAMEFACE_AUDIT__RETENTION_DAYS" "audit.retentionDays"
-}}
{{- if and .Values.tls.enabled (not .Values.tls.secretName) -}}
{{- fail "tls.enabled needs tls.secretName: a Secret with tls.crt and tls.key; with tls.certManager.issuer, cert-manager fills it" -}}
{{- end -}}
{{- if and (not .Values.tls.enabled) (or .Values.tls.secretName .Values.tls.clientCa.secretName .Values.tls.probeSecretName .Values.tls.certManager.issuer) -}}
{{- fail "values of tls are set, but tls.enabled is false, so the port would not be encrypted: set tls.enabled to true, or remove them" -}}
{{- end -}}
{{- if and (not .Values.access.required) (or .Values.access.keysSecretName .Values.access.grants .Values.access.issuers) -}}
{{- fail "values of access are set, but access.required is false, so everybody may call: set access.required to true, or remove them" -}}
{{- end -}}
{{- if and .Values.access.required (include "sameface.qdrantUrl" .) (not .Values.access.keysSecretName) (not .Values.access.grants) -}}
{{- fail "access.required is true, but no caller could have a right: set access.keysSecretName, or access.grants" -}}
{{- end -}}
{{- if and .Values.audit.enabled (include "sameface.qdrantUrl" .) (not .Values.audit.mirror) -}}
{{- fail "audit.enabled needs audit.mirror where templates are on a Qdrant server: pods then have no volume, and their logs end with them" -}}
{{- end -}}
{{- range $variable := keys .Values.service.secretEnv -}}
{{- if or (hasKey $owned $variable) (hasKey $.Values.service.env $variable) -}}
{{- fail (printf "service.secretEnv sets %s, which is set elsewhere: use the value %s instead" $variable (get $owned $variable | default (printf "service.env.%s" $variable))) -}}
{{- end -}}
{{- end -}}
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

{{/* Name of an image. Call with its values. */}}
{{- define "sameface.image" -}}
{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* Secrets that the service reads from files: a list of volume, secret and path. */}}
{{- define "sameface.secrets" -}}
{{- $secrets := list -}}
{{- if .Values.tls.enabled -}}
{{- $secrets = append $secrets (dict "volume" "tls" "secret" .Values.tls.secretName "path" "/etc/sameface/tls") -}}
{{- end -}}
{{- with .Values.tls.clientCa.secretName -}}
{{- $secrets = append $secrets (dict "volume" "client-ca" "secret" . "path" "/etc/sameface/client-ca") -}}
{{- end -}}
{{- with .Values.tls.probeSecretName -}}
{{- $secrets = append $secrets (dict "volume" "probe" "secret" . "path" "/etc/sameface/probe") -}}
{{- end -}}
{{- with .Values.access.keysSecretName -}}
{{- $secrets = append $secrets (dict "volume" "keys" "secret" . "path" "/etc/sameface/keys") -}}
{{- end -}}
{{- range $number, $mount := .Values.service.secretMounts -}}
{{- $secrets = append $secrets (dict "volume" (printf "secret-%d" $number) "secret" $mount.secretName "path" $mount.mountPath) -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{/* A probe of the service. Kubernetes' own gRPC probe speaks no TLS, so with TLS the pod asks itself. That starts a
     process, so it is asked less often. Call with a dict of root and seconds, for which it may fail. */}}
{{- define "sameface.probe" -}}
{{- $period := ternary 15 5 .root.Values.tls.enabled -}}
{{- if .root.Values.tls.enabled }}
exec: { command: [sameface, health, --timeout, "5"] }
timeoutSeconds: 10
{{- else }}
grpc: { port: {{ .root.Values.service.port }} }
{{- end }}
periodSeconds: {{ $period }}
{{- with .seconds }}
failureThreshold: {{ add (div . $period) 1 }}
{{- end }}
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
