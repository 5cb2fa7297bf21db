{{/* The installation's name on the brokers. Releases of one name in two namespaces, or clusters with brokers in common, differ in it. */}}
{{- define "grapnel.natsName" -}}
{{- default (include "grapnel.clusterName" .) .Values.journal.nats.name -}}
{{- end -}}

{{/* Flags of the journal on NATS. */}}
{{- define "grapnel.natsArguments" -}}
{{- $nats := .Values.journal.nats -}}
{{- $hosts := list -}}
{{- range $nats.urls -}}
{{- $hosts = append $hosts (regexReplaceAll "^[a-z]+://" . "") -}}
{{- end -}}
- --journal={{ regexFind "^[a-z]+://" (first $nats.urls) }}{{ join "," $hosts }}
- --nats-name={{ include "grapnel.natsName" . }}
- --nats-replicas={{ int $nats.replicas }}
- --nats-shards={{ int $nats.shards }}
{{- with $nats.monitorUrls }}
- --nats-monitor={{ join "," . }}
{{- end }}
{{- if $nats.trustSync }}
- --nats-trust-sync
{{- end }}
{{- if $nats.credentialsSecret }}
- --nats-creds=/nats/credentials/{{ $nats.credentialsKey }}
{{- end }}
{{- if $nats.caSecret }}
- --nats-ca=/nats/ca/{{ $nats.caKey }}
{{- end }}
{{- if $nats.clientCertificateSecret }}
- --nats-cert=/nats/client/tls.crt
- --nats-key=/nats/client/tls.key
{{- end }}
{{- with .Values.config.journalMaxBytes }}
- --journal-max-bytes={{ . }}
{{- end }}
{{- end -}}

{{/* Time to serve after SIGTERM. One replica alone stops at once: nobody takes its requests meanwhile. */}}
{{- define "grapnel.shutdownDelay" -}}
{{- if .Values.config.shutdownDelay -}}
{{- .Values.config.shutdownDelay -}}
{{- else if .replicated -}}
5s
{{- end -}}
{{- end -}}

{{/* The ports of the brokers, clients' and monitoring, as a JSON list. */}}
{{- define "grapnel.natsPorts" -}}
{{- $ports := list -}}
{{- range .Values.journal.nats.urls -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "4222" | int) -}}
{{- end -}}
{{- range .Values.journal.nats.monitorUrls -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "8222" | int) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* A URL that is wrong is not repeated: it may contain a password. */}}
{{- define "grapnel.validateUrl" -}}
{{- $host := "(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*\\.?)" -}}
{{- if contains "@" .url -}}
{{- fail (printf "%s contains a user, a password or a token: put the credentials (.creds) into a Secret and name it in journal.nats.credentialsSecret" .path) -}}
{{- end -}}
{{- if not (regexMatch (printf "^%s://%s(:[0-9]{1,5})?$" .schemes $host) .url) -}}
{{- fail (printf "%s is not %s: name one server in each item" .path .form) -}}
{{- end -}}
{{- with regexFind ":[0-9]+$" .url | trimPrefix ":" -}}
{{- if or (lt (int .) 1) (gt (int .) 65535) -}}
{{- fail (printf "%s has no valid port: it must be from 1 to 65535" $.path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the schema of the values cannot say about the journal. */}}
{{- define "grapnel.validateJournal" -}}
{{- $nats := .Values.journal.nats -}}
{{- $urls := $nats.urls -}}
{{- if .Values.config.shutdownDelay -}}
{{- $delay := include "grapnel.seconds" .Values.config.shutdownDelay | float64 -}}
{{- if or (gt $delay 300.0) (ge $delay (float64 .Values.terminationGracePeriodSeconds)) -}}
{{- fail (printf "config.shutdownDelay is %s: it must be at most 5m and shorter than terminationGracePeriodSeconds, which is %d" .Values.config.shutdownDelay (int .Values.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- end -}}
{{- range $at, $url := $urls -}}
{{- include "grapnel.validateUrl" (dict "url" $url "path" (printf "journal.nats.urls[%d]" $at) "schemes" "(nats|tls)" "form" "nats://HOST[:PORT] or tls://HOST[:PORT]") -}}
{{- if ne (hasPrefix "tls://" $url) (hasPrefix "tls://" (first $urls)) -}}
{{- fail "journal.nats.urls has nats:// and tls://: use the same scheme for all servers" -}}
{{- end -}}
{{- end -}}
{{- range $at, $url := $nats.monitorUrls -}}
{{- include "grapnel.validateUrl" (dict "url" $url "path" (printf "journal.nats.monitorUrls[%d]" $at) "schemes" "http" "form" "http://HOST[:PORT]") -}}
{{- end -}}
{{- if not $urls -}}
{{- range $name := list "monitorUrls" "trustSync" "name" "credentialsSecret" "caSecret" "clientCertificateSecret" -}}
{{- if get $nats $name -}}
{{- fail (printf "journal.nats.%s is set and journal.nats.urls is empty: name the NATS servers" $name) -}}
{{- end -}}
{{- end -}}
{{- if .Values.journal.migration -}}
{{- fail "journal.migration is set and journal.nats.urls is empty: name the NATS servers to which the installation moves" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled is true and the journal is embedded, which allows one replica: set journal.nats.urls" -}}
{{- end -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount is %d, and the embedded journal allows only 1: every replica would have a journal, and so events, duplicates and dead letters, of its own, and the Service would spread one sender's events over all of them. Set journal.nats.urls for several replicas (docs/replicas.md), or give the one replica more resources" (int .Values.replicaCount)) -}}
{{- end -}}
{{- else -}}
{{- if gt (len (include "grapnel.natsName" .)) 128 -}}
{{- fail "the name of the installation on the NATS servers has more than 128 characters: set a shorter one in journal.nats.name" -}}
{{- end -}}
{{- if eq (toString .Values.updateStrategy.type) "OnDelete" -}}
{{- fail "updateStrategy.type is OnDelete, which is for the embedded journal: with journal.nats.urls the replicas are a Deployment, which knows only RollingUpdate" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not .Values.journal.migration -}}
{{- if or (eq (toString .Values.persistence.enabled) "true") .Values.persistence.existingClaim -}}
{{- fail (printf "%s is set together with journal.nats.urls: with NATS events are stored by the brokers and Grapnel has no volume. Remove it; to move from an embedded journal set journal.migration first (docs/replicas.md)" (ternary "persistence.existingClaim" "persistence.enabled" (not (empty .Values.persistence.existingClaim)))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
