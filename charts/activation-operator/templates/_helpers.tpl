{{- define "activation-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for the names that are made of it, and for the label that the StatefulSet's controller makes of it. */}}
{{- define "activation-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "activation-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What has no namespace carries the release's in its name: two installs may be called the same. */}}
{{- define "activation-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "activation-operator.fullname" .) }}
{{- end }}

{{- define "activation-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "activation-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "activation-operator.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "activation-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "activation-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "activation-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "activation-operator.headlessName" -}}
{{- printf "%s-headless" (include "activation-operator.fullname" .) }}
{{- end }}

{{- define "activation-operator.tlsSecretName" -}}
{{- default (printf "%s-tls" (include "activation-operator.fullname" .)) .Values.tls.secretName }}
{{- end }}

{{- define "activation-operator.image" -}}
{{- with .Values.image }}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* Every argument of the program, one a line. */}}
{{- define "activation-operator.arguments" -}}
- run
- --data-dir=/var/lib/activation-operator
- {{ printf "--listen=%s:%v" .Values.bindAddress .Values.ports.data | quote }}
- {{ printf "--probe-listen=%s:%v" .Values.bindAddress .Values.ports.probe | quote }}
- --tls-cert=/etc/activation-operator/tls/tls.crt
- --tls-key=/etc/activation-operator/tls/tls.key
- --watch-secrets={{ .Values.secrets.watch }}
- --retention-max-age={{ .Values.retention.maxAge }}
- --retention-max-bytes={{ .Values.retention.maxBytes }}
- --on-position-lost={{ .Values.retention.onPositionLost }}
- --log-format={{ .Values.log.format }}
{{- if eq .Values.scope "Namespaces" }}
- --namespaces={{ uniq .Values.namespaces | join "," }}
{{- end }}
{{- with .Values.selector }}
- {{ printf "--selector=%s" . | quote }}
{{- end }}
{{- with .Values.ambient.namespaces }}
- --ambient-namespaces={{ uniq . | join "," }}
{{- end }}
{{- if .Values.endpoints.allowInternal }}
- --allow-internal-endpoints
{{- end }}
{{- range .Values.policy.sourceIp }}
- --policy-source-ip={{ . }}
{{- end }}
{{- range .Values.policy.sourceVpce }}
- --policy-source-vpce={{ . }}
{{- end }}
{{- with .Values.log.level }}
- {{ printf "--log=%s" . | quote }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* What the operator does with what lies in a namespace; of Secrets it asks no more than `secrets.watch` says. */}}
{{- define "activation-operator.rules" -}}
- apiGroups: [activation.dev]
  resources: [kinesisdestinations, audienceactivations]
  verbs: [get, list, watch, patch, update]
- apiGroups: [activation.dev]
  resources: [kinesisdestinations/status, audienceactivations/status]
  verbs: [patch]
- apiGroups: [activation.dev]
  resources: [kinesisdestinations/finalizers, audienceactivations/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  verbs: {{ if .Values.secrets.watch }}[get, list, watch]{{ else }}[get]{{ end }}
# Their labels, by which `allowedNamespaces.selector` is judged. In a Role: the namespace itself.
- apiGroups: [""]
  resources: [namespaces]
  verbs: {{ if eq .Values.scope "Cluster" }}[get, list, watch]{{ else }}[get]{{ end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
