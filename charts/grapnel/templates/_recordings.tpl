{{- /* Service levels as recording rules, for each window. A series is there only while there is traffic. `job` selects the operator. */}}
{{- define "grapnel.recordings" -}}
{{- $job := .job -}}
{{- range $window := list "5m" "30m" "1h" "6h" }}
# The share of requests that did not fail for a reason of the operator: a 503 that the sender did not cause.
- record: grapnel:ingest_availability:ratio_rate{{ $window }}
  expr: >-
    1 - (sum by (namespace, endpoint) (rate(webhook_failed_total{ {{- $job -}} ,error=~"unavailable|storage_exhausted|not_ready"}[{{ $window }}]))
    or sum by (namespace, endpoint) (rate(webhook_received_total{ {{- $job -}} }[{{ $window }}]) or rate(webhook_failed_total{ {{- $job -}} }[{{ $window }}])) * 0)
    / (sum by (namespace, endpoint) (rate(webhook_received_total{ {{- $job -}} }[{{ $window }}]) or rate(webhook_failed_total{ {{- $job -}} }[{{ $window }}])) > 0)
# The share of delivery attempts that succeeded.
- record: grapnel:delivery_success:ratio_rate{{ $window }}
  expr: >-
    (sum by (namespace, subscription) (rate(webhook_delivery_attempts_total{ {{- $job -}} ,outcome="delivered"}[{{ $window }}]))
    or sum by (namespace, subscription) (rate(webhook_delivery_attempts_total{ {{- $job -}} }[{{ $window }}])) * 0)
    / (sum by (namespace, subscription) (rate(webhook_delivery_attempts_total{ {{- $job -}} }[{{ $window }}])) > 0)
# The share of delivered events that arrived within a minute of their receipt.
- record: grapnel:delivery_lag_within_1m:ratio_rate{{ $window }}
  expr: >-
    sum by (namespace, subscription) (rate(webhook_delivery_lag_seconds_bucket{ {{- $job -}} ,le="60.0"}[{{ $window }}]))
    / (sum by (namespace, subscription) (rate(webhook_delivery_lag_seconds_count{ {{- $job -}} }[{{ $window }}])) > 0)
# The lag below which 99 of 100 deliveries stay.
- record: grapnel:delivery_lag_seconds:p99_rate{{ $window }}
  expr: >-
    histogram_quantile(0.99, sum by (namespace, subscription, le) (rate(webhook_delivery_lag_seconds_bucket{ {{- $job -}} }[{{ $window }}])))
    and sum by (namespace, subscription) (rate(webhook_delivery_lag_seconds_count{ {{- $job -}} }[{{ $window }}])) > 0
{{- end }}
{{- end -}}
