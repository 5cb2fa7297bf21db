{{/* The chart's name, for labels. */}}
{{- define "grapnel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects. A StatefulSet's pods carry it in a label with a hash of eleven characters. */}}
{{- define "grapnel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "grapnel.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of the operator's cluster-wide objects: releases in two namespaces may have the same name. */}}
{{- define "grapnel.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "grapnel.fullname" .) -}}
{{- end -}}

{{/* The name of an object that may be in the namespace of the monitoring, where those of other releases are too. */}}
{{- define "grapnel.monitoringName" -}}
{{- if has .namespace (list "" .root.Release.Namespace) -}}
{{- include "grapnel.fullname" .root -}}
{{- else -}}
{{- include "grapnel.clusterName" .root -}}
{{- end -}}
{{- end -}}

{{/* The label `job` of the release's metrics. With a namespace in it, the rules of a release do not count another's objects. */}}
{{- define "grapnel.job" -}}
{{- include "grapnel.clusterName" . | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "grapnel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "grapnel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What selects the pods of a workload. In a migration two workloads have the labels above. */}}
{{- define "grapnel.podSelectorLabels" -}}
{{ include "grapnel.selectorLabels" . }}
{{- if .replicated }}
grapnel.dev/journal: nats
{{- end }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "grapnel.labels" -}}
{{ include "grapnel.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: grapnel
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "grapnel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "grapnel.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "grapnel.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- with .Values.image.digest -}}
{{- printf "@%s" . -}}
{{- end -}}
{{- end -}}

{{- define "grapnel.servicePort" -}}
{{- default (ternary 443 80 .Values.tls.enabled) .Values.service.port -}}
{{- end -}}

{{/* The URL that senders use, as far as it is known. */}}
{{- define "grapnel.publicUrl" -}}
{{- if .Values.config.publicUrl -}}
{{- .Values.config.publicUrl -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tls))) (first .Values.ingress.hosts) -}}
{{- end -}}
{{- end -}}

{{/* The claim of the journal's volume. Its name is that of a StatefulSet's claim template. */}}
{{- define "grapnel.claim" -}}
{{- default (printf "data-%s-0" (include "grapnel.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* "true" when the ClusterRoles for people are part of this release: by default together with the CRDs. */}}
{{- define "grapnel.people" -}}
{{- if kindIs "bool" .Values.rbac.people -}}
{{- ternary "true" "" .Values.rbac.people -}}
{{- else if .Values.crds.enabled -}}
true
{{- end -}}
{{- end -}}

{{/* Where the test sends its webhook: the Service; with TLS the public URL, because a certificate names its host. */}}
{{- define "grapnel.testUrl" -}}
{{- if .Values.test.url -}}
{{- .Values.test.url -}}
{{- else if .Values.tls.enabled -}}
{{- include "grapnel.publicUrl" . -}}
{{- else -}}
{{- printf "http://%s.%s.svc.%s:%s" (include "grapnel.fullname" .) .Release.Namespace .Values.config.clusterDomain (include "grapnel.servicePort" .) -}}
{{- end -}}
{{- end -}}

{{/* The seconds of a duration in the syntax of the schema, such as 1m30s, as a number. */}}
{{- define "grapnel.seconds" -}}
{{- $units := dict "ns" 1e-9 "us" 1e-6 "ms" 1e-3 "s" 1.0 "m" 60.0 "h" 3600.0 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 -}}
{{- $total = addf $total (mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- round $total 9 -}}
{{- end -}}

{{/* "true" when the embedded journal is on a volume. */}}
{{- define "grapnel.persistent" -}}
{{- if ne (toString .Values.persistence.enabled) "false" -}}
true
{{- end -}}
{{- end -}}

{{/* Pods of the StatefulSet: a journal has one. */}}
{{- define "grapnel.embeddedReplicas" -}}
{{- if or .Values.journal.migration (kindIs "invalid" .Values.replicaCount) -}}
1
{{- else -}}
{{- int .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{/* Pods of the Deployment. */}}
{{- define "grapnel.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount -}}
3
{{- else -}}
{{- int .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{/* The workload, as kubectl names it. */}}
{{- define "grapnel.workload" -}}
{{- printf "%s/%s" (ternary "deployment" "statefulset" (not (empty .Values.journal.nats.urls))) (include "grapnel.fullname" .) -}}
{{- end -}}

{{/* Bound on the journal: what was said, otherwise 60 % of the volume, in the next smaller unit so that it stays whole. */}}
{{- define "grapnel.journalMaxBytes" -}}
{{- $size := .Values.persistence.size | toString -}}
{{- if .Values.config.journalMaxBytes -}}
{{- .Values.config.journalMaxBytes -}}
{{- else if and (include "grapnel.persistent" .) .Values.persistence.existingClaim -}}
{{- else -}}
{{- $number := regexFind "^[0-9]+" $size | int64 -}}
{{- $unit := regexFind "[A-Za-z]+$" $size -}}
{{- $units := dict "Ti" "Gi" "Gi" "Mi" "Mi" "Ki" -}}
{{- printf "%d%s" (div (mul $number 1024 6) 10) (get $units $unit) -}}
{{- end -}}
{{- end -}}

{{/* What the schema of the values cannot say. */}}
{{- define "grapnel.validate" -}}
{{- $interval := include "grapnel.seconds" .Values.config.statusInterval | float64 -}}
{{- if or (lt $interval 1.0) (gt $interval 3155760000.0) -}}
{{- fail (printf "config.statusInterval is %s: it must be at least 1s and at most 876600h" .Values.config.statusInterval) -}}
{{- end -}}
{{- $lease := include "grapnel.seconds" .Values.config.leaseDuration | float64 -}}
{{- if or (lt $lease 3.0) (gt $lease 300.0) (ne $lease (floor $lease)) -}}
{{- fail (printf "config.leaseDuration is %s: it must be whole seconds from 3s to 300s" .Values.config.leaseDuration) -}}
{{- end -}}
{{- if not (or (kindIs "invalid" .Values.podDisruptionBudget.minAvailable) (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget has minAvailable and maxUnavailable: a budget takes one of them" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (eq .Values.config.metricsAccess "authorized") (not .Values.rbac.create) (not .Values.serviceMonitor.authorization) -}}
{{- fail "config.metricsAccess is authorized and rbac.create is false: name the Secret with a token that may read /metrics, for example serviceMonitor.authorization.credentials.name=metrics-token,serviceMonitor.authorization.credentials.key=token" -}}
{{- end -}}
{{- include "grapnel.validateJournal" . -}}
{{- if and (eq .Values.rbac.scope "Namespaced") (not .Values.watchNamespaces) -}}
{{- fail "rbac.scope is Namespaced and watchNamespaces is empty: name the namespaces to watch, for example watchNamespaces={shop,billing}, or set rbac.scope to Cluster" -}}
{{- end -}}
{{- if and (eq .Values.rbac.scope "Cluster") .Values.watchNamespaces -}}
{{- fail "watchNamespaces is set and rbac.scope is Cluster: the operator would have rights in namespaces that it does not watch. Set rbac.scope to Namespaced, or leave watchNamespaces empty to watch all" -}}
{{- end -}}
{{- $routed := without (default .Values.watchNamespaces .Values.routes.namespaces) .Release.Namespace -}}
{{- if and .Values.routes.enabled (gt (len $routed) 16) -}}
{{- fail (printf "routes.enabled is true for %d namespaces, and a ReferenceGrant takes at most 16: name those whose endpoints have routes in routes.namespaces" (len $routed)) -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.secretName) -}}
{{- fail "tls.enabled is true and tls.secretName is empty: name a Secret of type kubernetes.io/tls in the release's namespace" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled is true and ingress.hosts is empty: name the host under which senders reach the webhooks" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled is true and httpRoute.parentRefs is empty: name the Gateway, for example httpRoute.parentRefs[0].name=public" -}}
{{- end -}}
{{- end -}}
