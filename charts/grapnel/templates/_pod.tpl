{{- /* The pod of the StatefulSet or, with `replicated`, of the Deployment. Its argument is the chart's
scope with `replicated`. */}}
{{- define "grapnel.pod" -}}
metadata:
  labels:
    {{- include "grapnel.podSelectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "grapnel.serviceAccountName" . }}
  automountServiceAccountToken: true
  # Variables for every Service of the namespace are of no use here.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 2 }}
  {{- end }}
  containers:
  - name: grapnel
    image: {{ include "grapnel.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
    - run
    - --listen={{ .Values.config.bindAddress }}:8080
    - --admin-listen={{ .Values.config.bindAddress }}:9090
    {{- if .replicated }}
    {{- include "grapnel.natsArguments" . | nindent 4 }}
    {{- else }}
    - --data-dir=/data/journal
    {{- with include "grapnel.journalMaxBytes" . }}
    - --journal-max-bytes={{ . }}
    {{- end }}
    {{- end }}
    {{- with .Values.config.namespaceShare }}
    - --namespace-share={{ . }}
    {{- end }}
    - --path-prefix={{ .Values.config.pathPrefix }}
    {{- with include "grapnel.publicUrl" . }}
    - --public-url={{ . }}
    {{- end }}
    - --cluster-domain={{ .Values.config.clusterDomain }}
    {{- with .Values.watchNamespaces }}
    - --watch-namespaces={{ join "," . }}
    {{- end }}
    {{- with .Values.className }}
    - --class={{ . }}
    {{- end }}
    {{- with .Values.config.egressAllow }}
    - --egress-allow={{ join "," . }}
    {{- end }}
    {{- with .Values.config.egressProxy }}
    - --egress-proxy={{ . }}
    {{- end }}
    {{- with .Values.config.trustedProxies }}
    - --trusted-proxies={{ join "," . }}
    {{- end }}
    {{- if ne .Values.config.metricsAccess "open" }}
    - --metrics-access={{ .Values.config.metricsAccess }}
    {{- end }}
    - --max-connections={{ int .Values.config.maxConnections }}
    - --status-interval={{ .Values.config.statusInterval }}
    {{- with .Values.config.statusWritesPerSecond }}
    - --status-writes-per-second={{ int . }}
    {{- end }}
    - --lease-namespace={{ .Release.Namespace }}
    - --lease-name={{ include "grapnel.fullname" . }}
    - --lease-duration={{ .Values.config.leaseDuration }}
    {{- if .Values.routes.enabled }}
    - --route-service={{ .Release.Namespace }}/{{ include "grapnel.fullname" . }}:{{ include "grapnel.servicePort" . }}
    {{- end }}
    {{- if .Values.tls.enabled }}
    - --tls-cert-file=/tls/tls.crt
    - --tls-key-file=/tls/tls.key
    {{- end }}
    {{- with include "grapnel.shutdownDelay" . }}
    - --shutdown-delay={{ . }}
    {{- end }}
    - --log-format={{ .Values.log.format }}
    {{- range .Values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
    env:
    # The name of this replica in the Lease (--identity).
    - name: POD_NAME
      valueFrom:
        fieldRef:
          # The default, written out: client-side and server-side apply agree on it.
          apiVersion: v1
          fieldPath: metadata.name
    {{- with .Values.log.filter }}
    - name: RUST_LOG
      value: {{ . | quote }}
    {{- end }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.extraEnvFrom }}
    envFrom:
    {{- toYaml . | nindent 4 }}
    {{- end }}
    ports:
    - name: {{ ternary "https" "http" .Values.tls.enabled }}
      containerPort: 8080
      protocol: TCP
    - name: admin
      containerPort: 9090
      protocol: TCP
    startupProbe:
      httpGet:
        path: /healthz
        port: admin
      {{- toYaml .Values.startupProbe | nindent 6 }}
    livenessProbe:
      httpGet:
        path: /healthz
        port: admin
      {{- toYaml .Values.livenessProbe | nindent 6 }}
    readinessProbe:
      httpGet:
        path: /readyz
        port: admin
      {{- toYaml .Values.readinessProbe | nindent 6 }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    {{- $mounts := include "grapnel.mounts" . | trim }}
    {{- if $mounts }}
    volumeMounts:
    {{- $mounts | nindent 4 }}
    {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- $volumes := include "grapnel.volumes" . | trim }}
  {{- if $volumes }}
  volumes:
  {{- $volumes | nindent 2 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if .replicated }}
  # One replica a node and a zone, where there are enough of them.
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "grapnel.podSelectorLabels" $ | nindent 10 }}
      {{- if semverCompare ">=1.27-0" $.Capabilities.KubeVersion.Version }}
      # Pods of the former revision, which an upgrade ends, do not count.
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}

{{- define "grapnel.mounts" -}}
{{- if not .replicated }}
- name: data
  mountPath: /data
{{- else }}
{{- with .Values.journal.nats.credentialsSecret }}
- name: nats-credentials
  mountPath: /nats/credentials
  readOnly: true
{{- end }}
{{- with .Values.journal.nats.caSecret }}
- name: nats-ca
  mountPath: /nats/ca
  readOnly: true
{{- end }}
{{- with .Values.journal.nats.clientCertificateSecret }}
- name: nats-client
  mountPath: /nats/client
  readOnly: true
{{- end }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: /tls
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "grapnel.volumes" -}}
{{- if not .replicated }}
- name: data
  {{- if include "grapnel.persistent" . }}
  persistentVolumeClaim:
    claimName: {{ include "grapnel.claim" . }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.persistence.size }}
  {{- end }}
{{- else }}
{{- with .Values.journal.nats.credentialsSecret }}
{{ include "grapnel.secretVolume" (list "nats-credentials" .) }}
{{- end }}
{{- with .Values.journal.nats.caSecret }}
{{ include "grapnel.secretVolume" (list "nats-ca" .) }}
{{- end }}
{{- with .Values.journal.nats.clientCertificateSecret }}
{{ include "grapnel.secretVolume" (list "nats-client" .) }}
{{- end }}
{{- end }}
{{- if .Values.tls.enabled }}
{{ include "grapnel.secretVolume" (list "tls" .Values.tls.secretName) }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* A volume of a name with a Secret. */}}
{{- define "grapnel.secretVolume" -}}
- name: {{ first . }}
  secret:
    secretName: {{ last . }}
    # Readable by the group that the pod has (fsGroup).
    defaultMode: 0440
{{- end -}}
