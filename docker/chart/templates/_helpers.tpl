{{/* Name of every object: the release's, made one that a Service may have. It begins with a letter, has no dot, and
     leaves room for the longest ending, -triton-headless. */}}
{{- define "sameface.name" -}}
{{- /* Here, because every template asks for the name first. */ -}}
{{- range list "metrics" "networkPolicy" "serviceAccount" -}}
{{- if not (hasKey $.Values .) -}}
{{- fail (printf "there are no values %s: those of an earlier chart were reused. Upgrade with --reset-then-reuse-values in place of --reuse-values" .) -}}
{{- end -}}
{{- end -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- $name = printf "sameface-%s" $name -}}
{{- end -}}
{{- $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of an object. Call with a dict of root and component. */}}
{{- define "sameface.labels" -}}
{{ include "sameface.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* Labels that select pods. Call with a dict of root and component. */}}
{{- define "sameface.selector" -}}
app.kubernetes.io/name: sameface
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* "true" where templates are on the volume of the single pod, empty where a Qdrant server has them. */}}
{{- define "sameface.embedded" -}}
{{- if not .Values.qdrant.url }}true{{ end -}}
{{- end -}}

{{/* Kind of the service's controller. Only one process at a time can open the embedded store, and a StatefulSet never
     starts a pod before the one that it replaces has ended. */}}
{{- define "sameface.kind" -}}
{{- ternary "StatefulSet" "Deployment" (eq (include "sameface.embedded" .) "true") -}}
{{- end -}}

{{/* "true" where the chart installs Triton. */}}
{{- define "sameface.ownTriton" -}}
{{- if and .Values.triton.enabled (not .Values.triton.url) }}true{{ end -}}
{{- end -}}

{{- define "sameface.tritonUrl" -}}
{{- if .Values.triton.url -}}
{{ .Values.triton.url }}
{{- else if .Values.triton.enabled -}}
{{ include "sameface.name" . }}-triton-headless:8001
{{- end -}}
{{- end -}}

{{- define "sameface.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "sameface.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* Name of an image. Call with its values. */}}
{{- define "sameface.image" -}}
{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* "true" where a component may have more than one pod. Call with its values. */}}
{{- define "sameface.several" -}}
{{- if .autoscaling.enabled -}}
{{- if gt (int .autoscaling.maxReplicas) 1 }}true{{ end -}}
{{- else if gt (int .replicas) 1 -}}
true
{{- end -}}
{{- end -}}

{{/* A quantity of Kubernetes as a number. Call with the quantity. */}}
{{- define "sameface.amount" -}}
{{- $factors := dict "" 1.0 "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $suffix := regexFind "[A-Za-z]*$" (toString .) -}}
{{- printf "%f" (mulf (trimSuffix $suffix (toString .) | float64) (get $factors $suffix)) -}}
{{- end -}}

{{/* The claim of the embedded store as the cluster has it, as YAML; empty where there is none, or Helm has no cluster. */}}
{{- define "sameface.liveClaim" -}}
{{- $claim := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "%s-data" (include "sameface.name" .)) -}}
{{- if $claim -}}
{{- $claim | toYaml -}}
{{- end -}}
{{- end -}}

{{/* "true" where the claim is an object of this release. A claim that an earlier revision made stays one when the store
     moves to a Qdrant server: so a rollback finds it, and the release still says that it is there. */}}
{{- define "sameface.ownClaim" -}}
{{- if include "sameface.embedded" . -}}
true
{{- else -}}
{{- $live := include "sameface.liveClaim" . | fromYaml -}}
{{- $by := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $live -}}
{{- if and $by (eq $by .Release.Name) (not (dig "metadata" "deletionTimestamp" "" $live)) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* "true" where there is a volume whose templates are to be moved. Without one the Job's pod would wait for ever. */}}
{{- define "sameface.moves" -}}
{{- $live := include "sameface.liveClaim" . | fromYaml -}}
{{- if and .Values.qdrant.moveFromVolume $live (not (dig "metadata" "deletionTimestamp" "" $live)) }}true{{ end -}}
{{- end -}}

{{/* The Qdrant server of the pods that run now; empty where there is none, or Helm has no cluster. */}}
{{- define "sameface.liveUrl" -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "sameface.name" .) -}}
{{- range dig "spec" "template" "spec" "containers" list $live -}}
{{- range .env -}}
{{- if eq .name "SAMEFACE_QDRANT_URL" -}}{{- .value -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
