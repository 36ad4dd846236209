{{/* What the names of a revision's objects end in. */}}
{{- define "weir.suffix" -}}
{{- if ne .Values.revision "default" }}-{{ .Values.revision }}{{ end -}}
{{- end }}

{{/* The Service, and what goes with it. */}}
{{- define "weir.service" -}}
istiod{{ include "weir.suffix" . }}
{{- end }}

{{/* What it may do. */}}
{{- define "weir.role" -}}
weir-pilot{{ include "weir.suffix" . }}-{{ .Release.Namespace }}
{{- end }}

{{/* By these labels the objects of an installation are found. Helm writes its own name over that of who manages them. */}}
{{- define "weir.labels" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Namespace }}
app.kubernetes.io/managed-by: weir
istio.io/rev: {{ .Values.revision | quote }}
{{- end }}

{{/* By these a pod is the revision's. */}}
{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
istio.io/rev: {{ .Values.revision | quote }}
{{- end }}

{{/* Name and labels of an object in the namespace. */}}
{{- define "weir.metadata" -}}
name: {{ include "weir.service" . }}
namespace: {{ .Release.Namespace }}
labels:
  app: istiod
  {{- include "weir.labels" . | nindent 2 }}
{{- end }}
