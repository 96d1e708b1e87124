{{/* Every object has the same one label, as in ../tidegate. */}}
{{- define "tidegate.labels" -}}
app.kubernetes.io/name: tidegate
{{- end }}

{{/* The objects of a generated file, which are for namespace tidegate, put into this release's. */}}
{{- define "tidegate.rbac" -}}
{{- $release := .Release.Namespace -}}
{{- $namespaced := .Values.namespaced -}}
{{- range splitList "\n---\n" (.Files.Get .file) }}
{{- $object := fromYaml . }}
{{- if $object.metadata.namespace }}{{ $_ := set $object.metadata "namespace" $release }}{{ end }}
{{- /* ClusterRoles have no namespace to tell several such releases apart. */}}
{{- if and $namespaced (hasPrefix "ClusterRole" $object.kind) }}
{{- $_ := set $object.metadata "name" (printf "tidegate-%s" $release) }}
{{- with $object.roleRef }}{{ $_ := set . "name" (printf "tidegate-%s" $release) }}{{ end }}
{{- end }}
{{- range $object.subjects }}{{ $_ := set . "namespace" $release }}{{ end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
