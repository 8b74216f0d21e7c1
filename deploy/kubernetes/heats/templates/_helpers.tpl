{{- define "heats.labels" -}}
app.kubernetes.io/name: heats
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "heats.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{/* Coordinator N of the StatefulSet's N - 1st pod, by the name that its certificate has. */}}
{{- define "heats.peers" -}}
{{- $peers := list -}}
{{- range $place := until (int .Values.coordinators.replicas) -}}
{{- $peers = append $peers (printf "%d=%s-coordinator-%d.%s-coordinator:%d" (add1 $place) $.Release.Name $place $.Release.Name (int $.Values.coordinators.port)) -}}
{{- end -}}
{{ join "," $peers }}
{{- end }}

{{- define "heats.addresses" -}}
{{- $addresses := list -}}
{{- range $place := until (int .Values.coordinators.replicas) -}}
{{- $addresses = append $addresses (printf "%s-coordinator-%d.%s-coordinator:%d" $.Release.Name $place $.Release.Name (int $.Values.coordinators.port)) -}}
{{- end -}}
{{ join "," $addresses }}
{{- end }}

{{- define "heats.pod" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
{{- end }}
