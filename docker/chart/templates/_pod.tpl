{{/* Parts of pods. */}}

{{/* What every pod has. Call with a dict of root, component, and values (those of the component). */}}
{{- define "sameface.pod" -}}
serviceAccountName: {{ include "sameface.serviceAccount" .root | quote }}
automountServiceAccountToken: false
# Otherwise every Service of the namespace adds variables, and one called sameface-… would look like a setting.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: { type: RuntimeDefault }
  {{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
  {{- with get $.values.podSecurityContext $name }}
  {{ $name }}: {{ int64 . }}
  {{- if eq $name "fsGroup" }}
  # A change of owner of every file would delay each start.
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  {{- end }}
  {{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
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

{{/* Labels of a pod. Call with a dict of root, component and values. */}}
{{- define "sameface.podLabels" -}}
{{ include "sameface.selector" . }}
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sameface.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
readOnlyRootFilesystem: true
{{- end -}}

{{/* Delays SIGTERM until a stopping pod has left the endpoints. Call with the seconds. */}}
{{- define "sameface.pause" -}}
{{- if gt (int .) 0 }}
lifecycle:
  preStop:
    exec: { command: [sleep, {{ . | quote }}] }
{{- end }}
{{- end -}}

{{/* How many pods more and fewer there may be while pods of a Deployment are replaced. What the values leave open: a new
     pod first. With GPUs it would wait for the GPU of the old one, so the old one ends first. Both numbers are always
     given: what Helm does not own, a change of it could not remove. Call with the component's values. */}}
{{- define "sameface.rollingUpdate" -}}
{{- $waits := gt (int (dig "gpu" "count" 0 .)) 0 -}}
{{- $given := .rollingUpdate -}}
maxSurge: {{ ternary (ternary 0 1 $waits) $given.maxSurge (kindIs "invalid" $given.maxSurge) }}
maxUnavailable: {{ ternary (ternary 1 0 $waits) $given.maxUnavailable (kindIs "invalid" $given.maxUnavailable) }}
{{- end -}}

{{/* Variables of a container. Call with its values. */}}
{{- define "sameface.variables" -}}
{{- range $variable, $value := .env }}
- name: {{ $variable | quote }}
  value: {{ $value | quote }}
{{- end }}
{{- range $variable, $secret := .secretEnv }}
- name: {{ $variable | quote }}
  valueFrom:
    secretKeyRef: { name: {{ $secret.name | quote }}, key: {{ $secret.key | quote }} }
{{- end }}
{{- end -}}

{{/* Versions of the Secrets that are read only when a pod starts, so that an upgrade after a change of one replaces the
     pods. They are no digest of what is secret. Empty where Helm has no cluster. Call with a dict of root and values. */}}
{{- define "sameface.secretVersions" -}}
{{- $names := list -}}
{{- range .values.secretEnv -}}{{- $names = append $names .name -}}{{- end -}}
{{- range .values.secretMounts -}}{{- $names = append $names .secretName -}}{{- end -}}
{{- with .root.Values.qdrant.apiKeySecret.name -}}{{- $names = append $names . -}}{{- end -}}
{{- $found := list -}}
{{- range $names | uniq | sortAlpha -}}
{{- with lookup "v1" "Secret" $.root.Release.Namespace . -}}
{{- $found = append $found (printf "%s=%s" .metadata.name .metadata.resourceVersion) -}}
{{- end -}}
{{- end -}}
{{- $found | join "," -}}
{{- end -}}
