{{- /* The alerts, as a list. `{{"{{"}}` is for Prometheus, not for Helm. */}}
{{- define "grapnel.alerts" -}}
- alert: GrapnelDown
  severity: critical
  for: 5m
  expr: absent(up{ {{- .job -}} ,namespace="{{ .namespace }}"} == 1)
  summary: Grapnel is down, or its metrics cannot be read
  description: Senders get no response while it is down; most providers retry. Look at {{ .pods }} in {{ .namespace }} and the log.
- alert: GrapnelNoLeader
  severity: warning
  for: 5m
  expr: >-
    sum(grapnel_leader{ {{- .job -}} ,namespace="{{ .namespace }}"}) < 1
    or max(grapnel_lease_failing{ {{- .job -}} ,namespace="{{ .namespace }}"}) == 1
  summary: No replica of Grapnel holds the Lease, or one cannot read or renew it
  description: Webhooks are received and delivered, but a replica without the Lease writes no status, Event or finalizer. Look for "Lease" in the log, and whether the operator may get and update the Lease {{ .name }} in {{ .namespace }}.
- alert: GrapnelJournalUnavailable
  severity: critical
  for: 5m
  expr: sum by (namespace, endpoint) (rate(webhook_failed_total{ {{- .job -}} ,error="unavailable"}[5m])) > 0
  summary: Webhooks are rejected because they cannot be stored
  description: {{ `'The endpoint {{ $labels.namespace }}/{{ $labels.endpoint }} answers 503. The journal is full, broken or too slow: look at grapnel_journal_bytes, the volume and the log.'` }}
- alert: GrapnelJournalRefuses
  severity: critical
  for: 1m
  expr: min(grapnel_journal_up{ {{- .job -}} ,namespace="{{ .namespace }}"}) < 1
  summary: The journal accepts no events
  description: {{ if .nats }}The NATS servers do not answer, have no quorum, are full, or are not proven to sync{{ else }}The volume is full, fails or does not respond{{ end }}, or config.journalMaxBytes is reached with events that are not delivered. /readyz and the log of {{ .pods }} in {{ .namespace }} say why. It recovers without a restart once the cause is fixed.
- alert: GrapnelJournalDamaged
  severity: critical
  for: 0m
  {{- /* Damage that a start finds is in the first sample, of which increase() sees nothing. */}}
  expr: >-
    sum(grapnel_journal_damaged_records_total{ {{- .job -}} ,namespace="{{ .namespace }}"})
    - (sum(grapnel_journal_damaged_records_total{ {{- .job -}} ,namespace="{{ .namespace }}"} offset 1h)
    or sum(grapnel_journal_damaged_records_total{ {{- .job -}} ,namespace="{{ .namespace }}"}) * 0) > 0
    or sum(increase(grapnel_journal_damaged_records_total{ {{- .job -}} ,namespace="{{ .namespace }}"}[1h])) > 0
  summary: Records of the journal are damaged
  description: {{ `'{{ $value | humanize }} more damaged records within an hour: acknowledged events may be lost. All others are served. The log names file, endpoint and sequences. Ask the senders to resend these events, check the disk, and stop the operator for "grapnel journal check".'` }}
- alert: GrapnelJournalSlow
  severity: warning
  for: 15m
  expr: histogram_quantile(0.99, sum by (le) (rate(grapnel_journal_append_seconds_bucket{ {{- .job -}} ,namespace="{{ .namespace }}"}[5m]))) > 1
  summary: Storing an event takes more than a second
  description: {{ `'One event in a hundred takes {{ $value | humanizeDuration }} to be durable; senders hang up after 3 to 10 seconds. The volume, or the NATS servers, are too slow for fsync, or busy.'` }}
{{- if .volume }}
- alert: GrapnelVolumeFilling
  severity: warning
  for: 15m
  expr: kubelet_volume_stats_available_bytes{namespace="{{ .namespace }}",persistentvolumeclaim="{{ .claim }}"} / kubelet_volume_stats_capacity_bytes{namespace="{{ .namespace }}",persistentvolumeclaim="{{ .claim }}"} < 0.1
  summary: The journal's volume is nearly full
  description: Less than a tenth of {{ .claim }} is free. {{ if .existing }}Enlarge the claim{{ else }}Upgrade the release with a larger persistence.size, which enlarges the volume{{ end }}, or lower config.journalMaxBytes or the retention of endpoints.
{{- end }}
- alert: GrapnelStorageExhausted
  severity: critical
  for: 5m
  expr: max by (namespace, endpoint) (webhook_storage_exhausted{ {{- .job -}} }) == 1
  summary: Webhooks of an endpoint are rejected because its share of the journal is exhausted
  description: {{ `'The endpoint {{ $labels.namespace }}/{{ $labels.endpoint }} returns 503: the share of the endpoint or of its namespace is exhausted by unsettled events. Its condition Storing shows which. Mend the receiver that events wait for and run "grapnel resume", redeliver dead letters, or raise spec.storage.maxBytes or config.namespaceShare.'` }}
- alert: GrapnelWatchFailing
  severity: warning
  for: 15m
  expr: sum by (resource) (increase(grapnel_watch_failures_total{ {{- .job -}} ,namespace="{{ .namespace }}"}[15m])) > 5
  summary: Grapnel cannot watch the cluster
  description: {{ `'The watch of {{ $labels.resource }} fails again and again: changes are not seen, and the last configuration stays. Look at the log and at the RBAC.'` }}
- alert: GrapnelStatusWritesFailing
  severity: warning
  for: 15m
  expr: sum(rate(grapnel_status_writes_total{ {{- .job -}} ,namespace="{{ .namespace }}",outcome=~"failed|timeout"}[10m])) > 0
  summary: Statuses cannot be written
  description: The statuses that kubectl shows are outdated. Check the log and the RBAC.
- alert: GrapnelDeadLetters
  severity: warning
  for: 0m
  expr: >-
    sum by (namespace, subscription) (webhook_dead_letters{ {{- .job -}} })
    - (sum by (namespace, subscription) (webhook_dead_letters{ {{- .job -}} } offset 30m)
    or sum by (namespace, subscription) (webhook_dead_letters{ {{- .job -}} }) * 0) > 0
  summary: New dead letters
  description: {{ `'{{ $value }} more dead letters of {{ $labels.namespace }}/{{ $labels.subscription }} within half an hour. See them with "grapnel deliveries list --state deadLettered", mend the receiver, redeliver.'` }}
- alert: GrapnelDeliveriesAbandoned
  severity: warning
  for: 0m
  {{- /* The series begins with the deletion, so increase() sees nothing of it. */}}
  expr: >-
    sum by (namespace, subscription) (webhook_deliveries_abandoned_total{ {{- .job -}} })
    - (sum by (namespace, subscription) (webhook_deliveries_abandoned_total{ {{- .job -}} } offset 1h)
    or sum by (namespace, subscription) (webhook_deliveries_abandoned_total{ {{- .job -}} }) * 0) > 0
    or sum by (namespace, subscription) (increase(webhook_deliveries_abandoned_total{ {{- .job -}} }[1h])) > 0
  summary: A subscription was deleted with undelivered events
  description: {{ `'{{ $value | humanize }} events of {{ $labels.namespace }}/{{ $labels.subscription }} are not delivered. They stay for the retention of the endpoint: until then a subscription with startFrom Earliest, and a filter for that time, delivers them. Set deletionPolicy Drain where that must not happen.'` }}
- alert: GrapnelDeliveriesFailing
  severity: warning
  for: 15m
  expr: >-
    sum by (namespace, subscription) (rate(webhook_delivery_attempts_total{ {{- .job -}} ,outcome!="delivered"}[5m]))
    / sum by (namespace, subscription) (rate(webhook_delivery_attempts_total{ {{- .job -}} }[5m])) > 0.5
  summary: A receiver fails
  description: {{ `'{{ $value | humanizePercentage }} of the deliveries of {{ $labels.namespace }}/{{ $labels.subscription }} fail. Its condition Delivering says why.'` }}
- alert: GrapnelCircuitOpen
  severity: warning
  for: 15m
  expr: max by (namespace, subscription) (webhook_circuit_open{ {{- .job -}} }) > 0
  summary: Deliveries to a receiver are paused
  description: {{ `'{{ $labels.namespace }}/{{ $labels.subscription }} has an open circuit: its receiver failed several times in a row and is only probed. No event is lost. Its condition Delivering says why.'` }}
- alert: GrapnelDeliveriesStuck
  severity: warning
  for: 30m
  expr: >-
    sum by (namespace, subscription) (webhook_deliveries_pending{ {{- .job -}} }) > 0
    unless sum by (namespace, subscription) (increase(webhook_delivery_attempts_total{ {{- .job -}} ,outcome="delivered"}[30m])) > 0
  summary: Events wait and none is delivered
  description: {{ `'{{ $value }} events of {{ $labels.namespace }}/{{ $labels.subscription }} wait, and none has been delivered for half an hour. The receiver fails, or the subscription is suspended.'` }}
- alert: GrapnelBacklog
  severity: warning
  for: 15m
  expr: sum by (namespace, subscription) (webhook_deliveries_pending{ {{- .job -}} }) > {{ int .backlog }}
  summary: A subscription has a large backlog
  description: {{ `'{{ $value }} events of {{ $labels.namespace }}/{{ $labels.subscription }} wait. Raise maxInFlight, or make the receiver faster.'` }}
- alert: GrapnelSendersRefused
  severity: warning
  for: 15m
  expr: >-
    sum by (namespace, endpoint) (rate(webhook_failed_total{ {{- .job -}} ,error=~"invalid_signature|missing_signature|stale_timestamp|schema_violation|unknown_event_type|malformed_payload"}[10m])) > 0
    unless sum by (namespace, endpoint) (rate(webhook_failed_total{ {{- .job -}} ,error=~"invalid_signature|missing_signature|stale_timestamp|schema_violation|unknown_event_type|malformed_payload"}[10m]))
    <= sum by (namespace, endpoint) (rate(webhook_received_total{ {{- .job -}} }[10m]))
  summary: Most requests to an endpoint are rejected
  description: {{ `'{{ $labels.namespace }}/{{ $labels.endpoint }} rejects more requests than it accepts. lastRejection in its status shows the reason: a rotated secret, perhaps, or a changed payload.'` }}
{{- end -}}
