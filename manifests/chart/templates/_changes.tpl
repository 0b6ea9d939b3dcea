{{/*
What the values change in the objects of files/. Each template takes { object, chart }, changes the object in place, and prints
nothing.
*/}}

{{- define "portreeve.image" }}
{{- printf "%s/%s:%s" .Values.image.host .Values.image.image (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "portreeve.deployment" }}
{{- $spec := .object.spec }}
{{- $values := .chart.Values }}
{{- $template := $spec.template }}
{{- $pod := $template.spec }}
{{- $container := index $pod.containers 0 }}
{{- $_ := set $spec "replicas" $values.replicaCount }}
{{- if $values.edgeSimplex }}
{{- $patch := (.chart.Files.Get "files/edge-simplex-deployment.yaml" | fromYaml).spec }}
{{- $_ := set $spec "replicas" $patch.replicas }}
{{- $_ := unset $pod "affinity" }}
{{- $_ := unset $pod "topologySpreadConstraints" }}
{{- $_ := set $pod "tolerations" $patch.template.spec.tolerations }}
{{- range $new := $patch.template.spec.volumes }}
{{- range $volume := $pod.volumes }}
{{- if eq $volume.name $new.name }}
{{- range $kind, $source := $new }}
{{- if kindIs "invalid" $source }}{{ $_ := unset $volume $kind }}{{ else }}{{ $_ := set $volume $kind $source }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $container "image" (include "portreeve.image" .chart | trim) }}
{{- $_ := set $container "imagePullPolicy" $values.image.pullPolicy }}
{{- with $values.resources }}{{ $_ := set $container "resources" . }}{{ end }}
{{- range $flag, $wanted := dict "--kubernetes-credentials" $values.kubernetesCredentials "--compare-children" $values.compareChildren }}
{{- if $wanted }}
{{- $_ := set $container "args" (append $container.args $flag) }}
{{- $_ := set $pod "automountServiceAccountToken" true }}
{{- end }}
{{- end }}
{{- $_ := set $container "volumeMounts" (concat $container.volumeMounts $values.extraVolumeMounts) }}
{{- $_ := set $pod "volumes" (concat $pod.volumes $values.extraVolumes) }}
{{- $_ := set $pod.securityContext "runAsUser" $values.securityContext.runAsUser }}
{{- $_ := set $pod "nodeSelector" (merge (deepCopy $values.nodeSelector) $pod.nodeSelector) }}
{{- $_ := set $pod "tolerations" (concat $pod.tolerations $values.tolerations) }}
{{- with $values.affinity }}{{ $_ := set $pod "affinity" . }}{{ end }}
{{- if $values.priorityClass }}{{ $_ := set $pod "priorityClassName" $values.priorityClass }}{{ else }}{{ $_ := unset $pod "priorityClassName" }}{{ end }}
{{- with $values.deploymentAnnotations }}{{ $_ := set $.object.metadata "annotations" . }}{{ end }}
{{- /* The configuration is read at the start: when it changes, the pods are replaced. */}}
{{- $checksum := dict "checksum/config" (toJson $values.config | sha256sum) }}
{{- $_ := set $template.metadata "annotations" (merge $checksum (deepCopy $values.podAnnotations)) }}
{{- end }}

{{- define "portreeve.service" }}
{{- $_ := set .object.spec "type" .chart.Values.service.type }}
{{- $_ := set (index .object.spec.ports 0) "port" .chart.Values.service.port }}
{{- end }}

{{- define "portreeve.serviceaccount" }}
{{- with .chart.Values.image.pullSecret }}{{ $_ := set $.object "imagePullSecrets" (list (dict "name" .)) }}{{ end }}
{{- end }}

{{- define "portreeve.disruption" }}
{{- with .chart.Values.podDisruptionBudget.minAvailable }}
{{- $_ := unset $.object.spec "maxUnavailable" }}
{{- $_ := set $.object.spec "minAvailable" . }}
{{- end }}
{{- end }}

{{- define "portreeve.webhooks" }}
{{- $values := .chart.Values }}
{{- $exempt := $values.exemptNamespaces }}
{{- if $values.edgeSimplex }}{{ $exempt = append $exempt "kube-system" }}{{ end }}
{{- $expressions := $values.NamespaceSelectorAdmissionSkip }}
{{- if $values.AllowAdmissionSkip }}
{{- $skip := dict "key" "securityenforcement.admission.cloud.ibm.com/namespace" "operator" "NotIn" "values" (list "skip") }}
{{- $expressions = append $expressions $skip }}
{{- end }}
{{- $ca := "" }}
{{- if $values.UseCertManager }}
{{- $exempt = append $exempt "cert-manager" }}
{{- $inject := dict "cert-manager.io/inject-ca-from" "portreeve/portreeve-serving" }}
{{- $_ := set .object.metadata "annotations" (merge $inject (default dict .object.metadata.annotations)) }}
{{- else }}
{{- $ca = required "The API server must know the CA of Portreeve's certificate: set UseCertManager, or UseGeneratedCerts.caCert (certs-gen writes it to ca.crt)." $values.UseGeneratedCerts.caCert | b64enc }}
{{- end }}
{{- range $webhook := .object.webhooks }}
{{- $_ := set $webhook.clientConfig.service "port" $values.service.port }}
{{- if $ca }}{{ $_ := set $webhook.clientConfig "caBundle" $ca }}{{ end }}
{{- /* The webhook for policies selects one namespace, and fails open: it is a help, not a guard. */}}
{{- if $webhook.namespaceSelector.matchExpressions }}
{{- $_ := set $webhook "failurePolicy" $values.webHooks.failurePolicy }}
{{- $names := index $webhook.namespaceSelector.matchExpressions 0 }}
{{- $_ := set $names "values" (concat $names.values $exempt | uniq) }}
{{- $_ := set $webhook.namespaceSelector "matchExpressions" (concat $webhook.namespaceSelector.matchExpressions $expressions) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The object is Helm's, and not kubectl's. */}}
{{- define "portreeve.managed" }}
{{- $_ := set .object.metadata.labels "app.kubernetes.io/managed-by" .chart.Release.Service }}
{{- end }}

{{- /* "true" if the webhook configurations are part of the release now. */}}
{{- define "portreeve.calls" }}
{{- if eq .Values.webHooks.when "always" }}true
{{- else if eq .Values.webHooks.when "ready" }}
{{- $deployment := lookup "apps/v1" "Deployment" "portreeve" "portreeve" }}
{{- $webhooks := lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "portreeve" }}
{{- if or $webhooks (dig "status" "readyReplicas" 0 (default dict $deployment)) }}true{{ end }}
{{- end }}
{{- end }}
