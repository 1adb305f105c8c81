{{/* The pod of the service, for its Deployment and its StatefulSet. */}}
{{- define "sameface.servicePod" -}}
{{- $name := include "sameface.name" . -}}
{{- $component := dict "root" . "component" "service" "values" .Values.service -}}
metadata:
  labels: {{- include "sameface.podLabels" $component | nindent 4 }}
  {{- $annotations := deepCopy .Values.service.podAnnotations }}
  {{- with .Values.access.grants }}
  {{- $annotations = set $annotations "checksum/grants" (sha256sum .) }}
  {{- end }}
  {{- if .Values.metrics.enabled }}
  {{- $scrape := dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString .Values.metrics.port) "prometheus.io/scheme" (ternary "https" "http" .Values.tls.enabled) }}
  {{- $annotations = merge $annotations $scrape }}
  {{- end }}
  {{- with include "sameface.secretVersions" $component }}
  {{- $annotations = set $annotations "sameface/secrets" . }}
  {{- end }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # The pause before SIGTERM, the drain, and 15 s to close the store.
  terminationGracePeriodSeconds: {{ add .Values.service.preStopSeconds .Values.service.drainSeconds 15 }}
  {{- include "sameface.pod" $component | nindent 2 }}
  containers:
    - name: sameface
      image: {{ include "sameface.image" .Values.service.image | quote }}
      imagePullPolicy: {{ .Values.service.image.pullPolicy }}
      args: [serve]
      {{- include "sameface.pause" .Values.service.preStopSeconds | nindent 6 }}
      securityContext: {{- include "sameface.containerSecurity" . | nindent 8 }}
      env:
        - name: SAMEFACE_LISTEN
          value: "0.0.0.0:{{ .Values.service.port }}"
        {{- include "sameface.serviceVariables" . | nindent 8 }}
        {{- include "sameface.variables" .Values.service | nindent 8 }}
      ports:
        - name: grpc
          containerPort: {{ .Values.service.port }}
        {{- if .Values.metrics.enabled }}
        - name: metrics
          containerPort: {{ .Values.metrics.port }}
        {{- end }}
      # Longer than startupSeconds, so that the service gives up first and logs a reason.
      startupProbe:
        {{- include "sameface.probe" (dict "root" . "seconds" (add .Values.service.startupSeconds 60)) | nindent 8 }}
      readinessProbe:
        {{- include "sameface.probe" (dict "root" .) | nindent 8 }}
      # Asks only whether the process answers: a service must not be killed because its Triton does not. With TLS it
      # checks only the port, since Kubernetes' own gRPC probe speaks no TLS.
      livenessProbe:
        {{- if .Values.tls.enabled }}
        tcpSocket: { port: grpc }
        {{- else }}
        grpc: { port: {{ .Values.service.port }}, service: live }
        {{- end }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources: {{- toYaml .Values.service.resources | nindent 8 }}
      volumeMounts: {{- include "sameface.serviceMounts" . | nindent 8 }}
  volumes: {{- include "sameface.serviceVolumes" (dict "root" . "claim" (include "sameface.embedded" .)) | nindent 4 }}
{{- end -}}

{{- define "sameface.serviceMounts" -}}
- { name: tmp, mountPath: /tmp }
- { name: data, mountPath: /data }
{{- range include "sameface.secrets" . | fromYamlArray }}
- { name: {{ .volume }}, mountPath: {{ .path | quote }}, readOnly: true }
{{- end }}
{{- if .Values.access.grants }}
- { name: grants, mountPath: /etc/sameface/grants, readOnly: true }
{{- end }}
{{- with .Values.service.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Volumes of the service. Call with a dict of root and claim: whether the data folder is on the claim. */}}
{{- define "sameface.serviceVolumes" -}}
{{- $name := include "sameface.name" .root -}}
- name: tmp
  emptyDir: {}
- name: data
  {{- if .claim }}
  persistentVolumeClaim: { claimName: {{ printf "%s-data" $name | quote }} }
  {{- else }}
  emptyDir: {}
  {{- end }}
# Readable by the service's group (fsGroup) alone.
{{- range include "sameface.secrets" .root | fromYamlArray }}
- name: {{ .volume }}
  secret: { secretName: {{ .secret | quote }}, defaultMode: 0440 }
{{- end }}
{{- if .root.Values.access.grants }}
- name: grants
  configMap: { name: {{ printf "%s-grants" $name | quote }} }
{{- end }}
{{- with .root.Values.service.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Settings that follow from the values, besides the address. */}}
{{- define "sameface.serviceVariables" -}}
- name: SAMEFACE_DRAIN_S
  value: {{ .Values.service.drainSeconds | quote }}
- name: SAMEFACE_STARTUP_S
  value: {{ .Values.service.startupSeconds | quote }}
{{- with include "sameface.tritonUrl" . }}
- name: SAMEFACE_TRITON_URL
  value: {{ . | quote }}
{{- else }}
- name: SAMEFACE_INFERENCE
  value: onnx
{{- end }}
{{- with .Values.qdrant.url }}
- name: SAMEFACE_QDRANT_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.qdrant.apiKeySecret }}
{{- if .name }}
- name: SAMEFACE_QDRANT_API_KEY
  valueFrom:
    secretKeyRef: { name: {{ .name | quote }}, key: {{ .key | quote }} }
{{- end }}
{{- end }}
{{- include "sameface.tlsVariables" . | nindent 0 }}
{{- if .Values.metrics.enabled }}
- name: SAMEFACE_METRICS__LISTEN
  value: "0.0.0.0:{{ .Values.metrics.port }}"
{{- if .Values.tls.enabled }}
- { name: SAMEFACE_METRICS__TLS__CERTIFICATE, value: /etc/sameface/tls/tls.crt }
- { name: SAMEFACE_METRICS__TLS__PRIVATE_KEY, value: /etc/sameface/tls/tls.key }
{{- end }}
{{- end }}
{{- if .Values.access.required }}
- { name: SAMEFACE_ACCESS__REQUIRED, value: "true" }
{{- if .Values.access.keysSecretName }}
- { name: SAMEFACE_ACCESS__KEYS, value: /etc/sameface/keys/keys.json }
{{- end }}
{{- if .Values.access.grants }}
- { name: SAMEFACE_ACCESS__GRANTS, value: /etc/sameface/grants/grants.toml }
{{- end }}
{{- with .Values.access.issuers }}
- name: SAMEFACE_ACCESS__ISSUERS
  value: {{ toJson . | quote }}
{{- end }}
{{- end }}
{{- if .Values.audit.enabled }}
- { name: SAMEFACE_AUDIT__ENABLED, value: "true" }
- { name: SAMEFACE_AUDIT__MIRROR, value: {{ .Values.audit.mirror | quote }} }
{{- with .Values.audit.retentionDays }}
- { name: SAMEFACE_AUDIT__RETENTION_DAYS, value: {{ . | quote }} }
{{- end }}
{{- end }}
{{- end -}}

{{/* Encryption of the port, for the service and for who asks it. */}}
{{- define "sameface.tlsVariables" -}}
{{- if .Values.tls.enabled }}
- { name: SAMEFACE_TLS__CERTIFICATE, value: /etc/sameface/tls/tls.crt }
- { name: SAMEFACE_TLS__PRIVATE_KEY, value: /etc/sameface/tls/tls.key }
{{- if .Values.tls.clientCa.secretName }}
- { name: SAMEFACE_TLS__CLIENT_CA, value: {{ printf "/etc/sameface/client-ca/%s" .Values.tls.clientCa.key | quote }} }
{{- end }}
{{- if .Values.tls.probeSecretName }}
- { name: SAMEFACE_CLIENT_CERTIFICATE, value: /etc/sameface/probe/tls.crt }
- { name: SAMEFACE_CLIENT_PRIVATE_KEY, value: /etc/sameface/probe/tls.key }
{{- end }}
{{- else }}
# The port is not encrypted inside the cluster. docs/security.md says what that means.
- { name: SAMEFACE_ALLOW_PLAINTEXT, value: "true" }
{{- end }}
{{- end -}}

{{/* Secrets of the port's encryption: a list of volume, secret and path. */}}
{{- define "sameface.tlsSecrets" -}}
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
{{- toYaml $secrets -}}
{{- end -}}

{{/* Secrets that the service reads from files: a list of volume, secret and path. */}}
{{- define "sameface.secrets" -}}
{{- $secrets := include "sameface.tlsSecrets" . | fromYamlArray -}}
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
