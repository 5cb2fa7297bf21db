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

{{- define "grapnel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "grapnel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
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

{{/* Bound on the journal: what was said, otherwise 60 % of the volume, in the next smaller unit so that it stays whole. */}}
{{- define "grapnel.journalMaxBytes" -}}
{{- $size := .Values.persistence.size | toString -}}
{{- if .Values.config.journalMaxBytes -}}
{{- .Values.config.journalMaxBytes -}}
{{- else if and .Values.persistence.enabled .Values.persistence.existingClaim -}}
{{- else -}}
{{- $number := regexFind "^[0-9]+" $size | int64 -}}
{{- $unit := regexFind "[A-Za-z]+$" $size -}}
{{- $units := dict "Ti" "Gi" "Gi" "Mi" "Mi" "Ki" -}}
{{- printf "%d%s" (div (mul $number 1024 6) 10) (get $units $unit) -}}
{{- end -}}
{{- end -}}

{{/* What the schema of the values cannot say. */}}
{{- define "grapnel.validate" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail (printf "replicas is %d, and the embedded journal allows only 1: every replica would have a journal, and so events, duplicates and dead letters, of its own, and the Service would spread one sender's events over all of them. Give the one replica more resources instead" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (eq .Values.rbac.scope "Namespaced") (not .Values.watchNamespaces) -}}
{{- fail "rbac.scope is Namespaced and watchNamespaces is empty: name the namespaces to watch, for example watchNamespaces={shop,billing}, or set rbac.scope to Cluster" -}}
{{- end -}}
{{- if and (eq .Values.rbac.scope "Cluster") .Values.watchNamespaces -}}
{{- fail "watchNamespaces is set and rbac.scope is Cluster: the operator would have rights in namespaces that it does not watch. Set rbac.scope to Namespaced, or leave watchNamespaces empty to watch all" -}}
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
