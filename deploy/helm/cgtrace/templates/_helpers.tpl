{{- define "cgtrace.selector" -}}
app.kubernetes.io/name: cgtrace
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cgtrace.labels" -}}
{{ include "cgtrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cgtrace
{{- end }}

{{- define "cgtrace.scheme" -}}
{{ if .Values.tls.secret }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}
