{{/* Refuses values that contradict each other, or that Kubernetes would refuse for a reason that the schema cannot see.
     Each message names the value to use. */}}
{{- define "sameface.check" -}}
{{- include "sameface.checkStore" . -}}
{{- include "sameface.checkSecurity" . -}}
{{- range $component := list "service" "triton" -}}
{{- include "sameface.checkComponent" (dict "root" $ "name" $component "values" (get $.Values $component)) -}}
{{- end -}}
{{- include "sameface.checkVariables" . -}}
{{- include "sameface.checkMetrics" . -}}
{{- end -}}

{{- define "sameface.checkMetrics" -}}
{{- $metrics := .Values.metrics -}}
{{- range $part := list "serviceMonitor" "rules" "dashboard" -}}
{{- if and (get $metrics $part).enabled (not $metrics.enabled) -}}
{{- fail (printf "metrics.%s.enabled is true, but there are no metrics: set metrics.enabled to true" $part) -}}
{{- end -}}
{{- end -}}
{{- if and $metrics.enabled (eq (int $metrics.port) (int .Values.service.port)) -}}
{{- fail (printf "metrics.port and service.port are both %d: set metrics.port to another, such as 9464" (int $metrics.port)) -}}
{{- end -}}
{{- end -}}

{{- define "sameface.checkStore" -}}
{{- if hasKey .Values.qdrant "enabled" -}}
{{- fail "qdrant.enabled is no value any more: install Qdrant as a release of its own (docs/deployment.md, \"Qdrant\") and set qdrant.url to http://RELEASE:6334" -}}
{{- end -}}
{{- if and (include "sameface.embedded" .) (gt (int .Values.service.replicas) 1) -}}
{{- fail "service.replicas is more than 1, but the replicas have no Qdrant server to share: set qdrant.url, or set service.replicas to 1" -}}
{{- end -}}
{{- if and (include "sameface.embedded" .) .Values.service.autoscaling.enabled -}}
{{- fail "service.autoscaling.enabled is true, but more pods have no Qdrant server to share: set qdrant.url, or set service.autoscaling.enabled to false" -}}
{{- end -}}
{{- if and (include "sameface.embedded" .) .Values.qdrant.apiKeySecret.name -}}
{{- fail "qdrant.apiKeySecret.name is set, but there is no Qdrant server that asks for a key: set qdrant.url, or remove it" -}}
{{- end -}}
{{- if and (include "sameface.embedded" .) .Values.qdrant.moveFromVolume -}}
{{- fail "qdrant.moveFromVolume is true, but there is no Qdrant server to move templates to: set qdrant.url, or remove it" -}}
{{- end -}}
{{- if regexMatch ":6333\\s*(/|,|$)" .Values.qdrant.url -}}
{{- fail (printf "qdrant.url is %s, but 6333 is the port of Qdrant's REST API: set its gRPC port, 6334" .Values.qdrant.url) -}}
{{- end -}}
{{- if and (regexMatch "(^|,)\\s*http:" .Values.qdrant.url) (regexMatch "(^|,)\\s*https:" .Values.qdrant.url) -}}
{{- fail (printf "qdrant.url mixes http and https (%s): use one of them for all nodes" .Values.qdrant.url) -}}
{{- end -}}
{{- $live := include "sameface.liveClaim" . | fromYaml -}}
{{- $class := .Values.service.persistence.storageClassName -}}
{{- $has := dig "spec" "storageClassName" "" $live -}}
{{- if and (include "sameface.embedded" .) $live $class (ne $class $has) -}}
{{- fail (printf "service.persistence.storageClassName is %s, but the claim %s-data has %s, and Kubernetes changes no class: set service.persistence.storageClassName to %q, or move the templates to another claim by `sameface store export` and `import`" $class (include "sameface.name" .) (default "none" $has) $has) -}}
{{- end -}}
{{- end -}}

{{- define "sameface.checkSecurity" -}}
{{- if and .Values.tls.enabled (not .Values.tls.secretName) -}}
{{- fail "tls.enabled needs tls.secretName: a Secret with tls.crt and tls.key; with tls.certManager.issuer, cert-manager fills it" -}}
{{- end -}}
{{- if and (not .Values.tls.enabled) (or .Values.tls.secretName .Values.tls.clientCa.secretName .Values.tls.probeSecretName .Values.tls.certManager.issuer) -}}
{{- fail "values of tls are set, but tls.enabled is false, so the port would not be encrypted: set tls.enabled to true, or remove them" -}}
{{- end -}}
{{- if and (not .Values.access.required) (or .Values.access.keysSecretName .Values.access.grants .Values.access.issuers) -}}
{{- fail "values of access are set, but access.required is false, so everybody may call: set access.required to true, or remove them" -}}
{{- end -}}
{{- if and .Values.access.required .Values.qdrant.url (not .Values.access.keysSecretName) (not .Values.access.grants) -}}
{{- fail "access.required is true, but no caller could have a right: set access.keysSecretName, or access.grants" -}}
{{- end -}}
{{- if and .Values.audit.enabled .Values.qdrant.url (not .Values.audit.mirror) -}}
{{- fail "audit.enabled needs audit.mirror where templates are on a Qdrant server: pods then have no volume, and their logs end with them" -}}
{{- end -}}
{{- end -}}

{{/* Call with a dict of root, name and values of a component. */}}
{{- define "sameface.checkComponent" -}}
{{- $name := .name -}}
{{- $values := .values -}}
{{- range $resource, $request := $values.resources.requests -}}
{{- with get (default dict $values.resources.limits) $resource -}}
{{- if gt (include "sameface.amount" $request | float64) (include "sameface.amount" . | float64) -}}
{{- fail (printf "%s.resources.requests.%s is %v, more than its limit of %v, which Kubernetes refuses: set %s.resources.limits.%s to %v or more" $name $resource $request . $name $resource $request) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $rolling := include "sameface.rollingUpdate" $values | fromYaml -}}
{{- if and (regexMatch "^0%?$" (toString $rolling.maxSurge)) (regexMatch "^0%?$" (toString $rolling.maxUnavailable)) -}}
{{- fail (printf "%s.rollingUpdate allows neither a pod more nor a pod less, so no pod could be replaced: set %s.rollingUpdate.maxSurge to 1" $name $name) -}}
{{- end -}}
{{- $scaling := $values.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d, more than maxReplicas: set %s.autoscaling.maxReplicas to %d or more" $name (int $scaling.minReplicas) $name (int $scaling.minReplicas)) -}}
{{- end -}}
{{- if not (or $scaling.cpuPercent $scaling.podMetrics) -}}
{{- fail (printf "%s.autoscaling.enabled is true, but nothing says when to add pods: set %s.autoscaling.cpuPercent to 70, or name a metric in %s.autoscaling.podMetrics" $name $name $name) -}}
{{- end -}}
{{- if and $scaling.cpuPercent (not (dig "requests" "cpu" "" $values.resources)) (not (dig "limits" "cpu" "" $values.resources)) -}}
{{- fail (printf "%s.autoscaling.cpuPercent is a share of the requested CPU, but none is requested: set %s.resources.requests.cpu to \"1\"" $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $label, $_ := $values.podLabels -}}
{{- if has $label (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component") -}}
{{- fail (printf "%s.podLabels sets %s, by which Services find the pods: use a label of your own, such as example.org/team" $name $label) -}}
{{- end -}}
{{- end -}}
{{- range $part := list "env" "secretEnv" -}}
{{- if hasKey (get $values $part) "ORT_DISABLE_TELEMETRY" -}}
{{- fail (printf "%s.%s sets ORT_DISABLE_TELEMETRY, but the models' runtime sends nothing about its use, which this project promises: remove the variable" $name $part) -}}
{{- end -}}
{{- end -}}
{{- range $variable, $_ := $values.secretEnv -}}
{{- if hasKey $values.env $variable -}}
{{- fail (printf "%s.secretEnv sets %s, which is set elsewhere: use the value %s.env.%s instead" $name $variable $name $variable) -}}
{{- end -}}
{{- end -}}
{{- $paths := ternary (list "/tmp" "/data" "/etc/sameface/grants") (list "/tmp" "/dev/shm" "/models") (eq $name "service") -}}
{{- if eq $name "service" -}}
{{- range include "sameface.secrets" .root | fromYamlArray -}}{{- $paths = append $paths .path -}}{{- end -}}
{{- end -}}
{{- range $values.volumeMounts -}}{{- $paths = append $paths .mountPath -}}{{- end -}}
{{- range $paths -}}
{{- $path := . | trimSuffix "/" -}}
{{- $count := 0 -}}
{{- range $paths -}}{{- if eq (trimSuffix "/" .) $path -}}{{- $count = add1 $count -}}{{- end -}}{{- end -}}
{{- if gt (int $count) 1 -}}
{{- fail (printf "two volumes of the %s would be mounted at %s: set another mountPath, such as %s-more" $name $path $path) -}}
{{- end -}}
{{- end -}}
{{- $own := list "tmp" "data" "shm" "grants" "tls" "client-ca" "probe" "keys" -}}
{{- range $values.volumes -}}
{{- if or (has .name $own) (hasPrefix "secret-" .name) -}}
{{- fail (printf "%s.volumes has a volume %s, a name that the chart uses itself: call it %s-more" $name .name .name) -}}
{{- end -}}
{{- end -}}
{{- range $values.volumeMounts -}}
{{- $mount := . -}}
{{- $found := has .name (list "tmp" "data" "shm") -}}
{{- range $values.volumes -}}{{- if eq .name $mount.name -}}{{- $found = true -}}{{- end -}}{{- end -}}
{{- if not $found -}}
{{- fail (printf "%s.volumeMounts mounts %s, but no volume has this name: add it to %s.volumes" $name .name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Variables that values set, and the value of each. */}}
{{- define "sameface.owned" -}}
SAMEFACE_LISTEN: service.port
SAMEFACE_DRAIN_S: service.drainSeconds
SAMEFACE_STARTUP_S: service.startupSeconds
SAMEFACE_TRITON_URL: triton.url
SAMEFACE_INFERENCE: triton.enabled
SAMEFACE_QDRANT_URL: qdrant.url
SAMEFACE_QDRANT_API_KEY: qdrant.apiKeySecret
SAMEFACE_ALLOW_PLAINTEXT: tls.enabled
SAMEFACE_TLS: tls.secretName
SAMEFACE_TLS__CERTIFICATE: tls.secretName
SAMEFACE_TLS__PRIVATE_KEY: tls.secretName
SAMEFACE_TLS__CLIENT_CA: tls.clientCa.secretName
SAMEFACE_CLIENT_CERTIFICATE: tls.probeSecretName
SAMEFACE_CLIENT_PRIVATE_KEY: tls.probeSecretName
SAMEFACE_ACCESS: access
SAMEFACE_ACCESS__REQUIRED: access.required
SAMEFACE_ACCESS__KEYS: access.keysSecretName
SAMEFACE_ACCESS__GRANTS: access.grants
SAMEFACE_ACCESS__ISSUERS: access.issuers
SAMEFACE_METRICS: metrics
SAMEFACE_METRICS__LISTEN: metrics.port
SAMEFACE_METRICS__TLS: tls.secretName
SAMEFACE_METRICS__TLS__CERTIFICATE: tls.secretName
SAMEFACE_METRICS__TLS__PRIVATE_KEY: tls.secretName
SAMEFACE_AUDIT: audit
SAMEFACE_AUDIT__ENABLED: audit.enabled
SAMEFACE_AUDIT__MIRROR: audit.mirror
SAMEFACE_AUDIT__RETENTION_DAYS: audit.retentionDays
{{- end -}}

{{- define "sameface.checkVariables" -}}
{{- $owned := include "sameface.owned" . | fromYaml -}}
{{- range $part := list "env" "secretEnv" -}}
{{- range $variable, $_ := get $.Values.service $part -}}
{{- /* The service reads its settings in capitals and small letters. */ -}}
{{- $name := upper $variable -}}
{{- if hasKey $owned $name -}}
{{- fail (printf "service.%s sets %s, but probes, ports and volumes of this chart depend on it: %s the value %s instead" $part $variable (ternary "set" "use" (eq $part "env")) (get $owned $name)) -}}
{{- end -}}
{{- if eq $name "SAMEFACE_DATA_DIR" -}}
{{- fail (printf "service.%s sets %s, but the volume of the templates is at /data, the image's default: remove the variable, and set service.persistence for another volume" $part $variable) -}}
{{- end -}}
{{- if eq $name "SAMEFACE_DEFAULTS" -}}
{{- fail (printf "service.%s sets %s, the file with the image's own folders: mount your file and name it in service.env.SAMEFACE_CONFIG" $part $variable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $written := list "/tmp" "/data" -}}
{{- range .Values.service.volumeMounts -}}
{{- if not .readOnly -}}{{- $written = append $written (trimSuffix "/" .mountPath) -}}{{- end -}}
{{- end -}}
{{- $folders := dict "SAMEFACE_CACHE_DIR" "/tmp/sameface" "SAMEFACE_AUDIT__FOLDER" "/data/audit" -}}
{{- $ports := dict (toString .Values.service.port) "service.port" -}}
{{- if .Values.metrics.enabled -}}{{- $ports = set $ports (toString .Values.metrics.port) "metrics.port" -}}{{- end -}}
{{- range $variable, $value := .Values.service.env -}}
{{- $name := upper $variable -}}
{{- if hasKey $folders $name -}}
{{- $found := false -}}
{{- range $written -}}{{- if hasPrefix (printf "%s/" .) (printf "%s/" (clean $value)) -}}{{- $found = true -}}{{- end -}}{{- end -}}
{{- if not $found -}}
{{- fail (printf "service.env.%s is %s, but only /tmp, /data and what service.volumeMounts mounts can be written: set %s, or mount a volume there" $variable $value (get $folders $name)) -}}
{{- end -}}
{{- end -}}
{{- if has $name (list "SAMEFACE_HTTP" "SAMEFACE_HTTP__LISTEN") -}}
{{- range regexFindAll ":[0-9]+(\"|$)" (trim $value) -1 -}}
{{- with get $ports (trimAll ":\"" .) -}}
{{- fail (printf "service.env.%s listens at %s, the port of %s: set another, such as 8080" $variable $value .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
