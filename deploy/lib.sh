# What deploy.sh and validate.sh share: words on the terminal, which folder is meant, and what stands in it.
#
# Objects are read by kubectl itself, never by a parser of ours: `kubectl annotate --local` takes files, asks no cluster
# and puts any object through a Go template. So nothing is needed besides kubectl and what every Debian has.
# shellcheck shell=bash

if ((BASH_VERSINFO[0] < 4)); then
    echo "bash 4 or later is needed; this is $BASH_VERSION" >&2
    exit 2
fi

DEPLOY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
STACKS=${TIDEGATE_STACKS:-$DEPLOY/stacks}

# --- words ----------------------------------------------------------------------------------------------------------

bold='' green='' yellow='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' green=$'\e[32m' yellow=$'\e[33m' red=$'\e[31m' plain=$'\e[0m'
fi

passed=0 warned=0 failed=0

heading() { printf '\n%s=== %s%s\n' "$bold" "$*" "$plain"; }
pass() { passed=$((passed + 1)) && printf '  %sPASS%s  %s\n' "$green" "$plain" "$*"; }
warn() { warned=$((warned + 1)) && printf '  %sWARN%s  %s\n' "$yellow" "$plain" "$*"; }
fail() { failed=$((failed + 1)) && printf '  %sFAIL%s  %s\n' "$red" "$plain" "$*"; }
note() { printf '        %s\n' "$*"; }

# Somebody else's lines, below one of ours.
quote() { sed 's/^/          | /'; }

# A mistake in the call.
misused() {
    printf '%s: %s (--help says more)\n' "${0##*/}" "$*" >&2
    exit 2
}

# The first line of what a command said, for the end of a line of ours.
first_line() { sed -n '/^Warning:/d;/[^[:space:]]/{s/^error: //;s/^Error from server //;p;q;}' "$1"; }

# 5m, 90s, 1h30m or a bare number of seconds, as seconds.
seconds() {
    local text=$1 total=0
    [[ $text =~ ^[0-9]+$ ]] && text=${text}s
    [[ $text =~ ^([0-9]+h)?([0-9]+m)?([0-9]+s)?$ && -n $text ]] || return 1
    [[ $text =~ ([0-9]+)h ]] && total=$((total + 10#${BASH_REMATCH[1]} * 3600))
    [[ $text =~ ([0-9]+)m ]] && total=$((total + 10#${BASH_REMATCH[1]} * 60))
    [[ $text =~ ([0-9]+)s ]] && total=$((total + 10#${BASH_REMATCH[1]}))
    echo "$total"
}

# --- a place for files, and the cluster -----------------------------------------------------------------------------

# Rendered Secrets lie there: nobody else may look, and it goes when we go.
make_work() {
    umask 077
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-deploy.XXXXXX")
    WORK=$(cd "$WORK" && pwd -P)
    trap 'rm -rf "$WORK"' EXIT
}

# Set by --context.
KUBE=()

k() { kubectl ${KUBE[@]+"${KUBE[@]}"} "$@"; }

# Where the template's "one" is for each object: kubectl hands over a list, or the object itself where there is one.
each() { printf '%s' "{{define \"one\"}}$1{{end}}" \
    '{{if .items}}{{range .items}}{{template "one" .}}{{end}}{{else if .metadata.name}}{{template "one" .}}{{end}}'; }

# Whether version $1 is at least $2; only MAJOR.MINOR counts.
at_least() {
    local have=${1#v} want=$2
    local have_major=${have%%.*} want_major=${want%%.*}
    have=${have#*.} want=${want#*.}
    have=${have%%[!0-9]*}
    ((have_major > want_major || (have_major == want_major && have >= want)))
}

# 1.24 is the first kubectl that says which kustomize it has, and the oldest cluster that anybody was promised.
MINIMUM=1.24

check_tools() {
    local tool
    if ! type -P kubectl >/dev/null; then
        fail "kubectl is not on the PATH: install $MINIMUM or later"
        return 1
    fi
    kubectl version --client -o yaml >"$WORK/client" 2>"$WORK/error" || true
    CLIENT=$(awk '$1 == "gitVersion:" { print $2; exit }' "$WORK/client")
    local kustomize
    kustomize=$(awk '$1 == "kustomizeVersion:" { print $2; exit }' "$WORK/client")
    if [[ -z $CLIENT ]] || ! at_least "$CLIENT" "$MINIMUM"; then
        fail "kubectl ${CLIENT:-that does not say its version} is too old: install $MINIMUM or later"
        return 1
    fi
    pass "kubectl $CLIENT"
    if [[ -z $kustomize ]]; then
        fail "this kubectl has no kustomize in it: install one that has"
        return 1
    fi
    pass "kustomize $kustomize, in kubectl"
    for tool in awk sed grep mktemp realpath sort date timeout; do
        type -P "$tool" >/dev/null && continue
        fail "$tool is not on the PATH"
        return 1
    done
}

# Whether there is a cluster to be asked. Says so on a line; what it said is in $WORK/error.
check_cluster() {
    local server
    if ! k version -o yaml --request-timeout=10s >"$WORK/server" 2>"$WORK/error"; then
        return 1
    fi
    server=$(awk '/^serverVersion:/ { server = 1 } server && $1 == "gitVersion:" { print $2; exit }' "$WORK/server")
    [[ -n $server ]] || return 1
    if ! at_least "$server" "$MINIMUM"; then
        fail "the cluster is Kubernetes $server: $MINIMUM or later is needed"
        return 0
    fi
    pass "the cluster answers: Kubernetes $server$(in_context)"
    local client_minor server_minor
    client_minor=$(minor "$CLIENT") server_minor=$(minor "$server")
    if ((client_minor - server_minor > 1 || server_minor - client_minor > 1)); then
        warn "kubectl $CLIENT and Kubernetes $server are more than one minor version apart, which nobody tests"
    fi
}

minor() {
    local version=${1#*.}
    echo "${version%%[!0-9]*}"
}

in_context() {
    local context
    if ((${#KUBE[@]})); then
        context=${KUBE[1]}
    else
        context=$(kubectl config current-context 2>/dev/null) || context=
    fi
    [[ -z $context ]] || printf ', context %s' "$context"
}

# --- which folder is meant ------------------------------------------------------------------------------------------

stacks() {
    local folder
    for folder in "$STACKS"/*/overlays; do
        if [[ -d $folder ]]; then basename "${folder%/overlays}"; fi
    done
}

# Sets FOLDER for tidegate itself or a stack, and an overlay of it.
find_folder() {
    local what=$1 overlay=$2 overlays
    if [[ $what == tidegate ]]; then
        overlays=$DEPLOY/overlays
    else
        overlays=$STACKS/$what/overlays
    fi
    # A name, and no way out of the folder.
    [[ $what$overlay != *[!A-Za-z0-9._-]* ]] || misused "not a name: $what, $overlay"
    [[ -d $overlays ]] || misused "there is no $what; there are: tidegate $(stacks | paste -sd' ' -)"
    FOLDER=$overlays/$overlay
    [[ -e $FOLDER/kustomization.yaml ]] ||
        misused "$what has no overlay $overlay; it has: $(cd "$overlays" && printf '%s\n' * | paste -sd' ' -)"
}

# --- what stands in it ----------------------------------------------------------------------------------------------

# One line a fact, below one `object` line each. Columns are parted by tabs, and what is empty is a dash.
# shellcheck disable=SC2016
FACTS='
{{- define "pairs" -}}
  {{- $comma := "" -}}
  {{- range $k, $v := . -}}{{$comma}}{{$k}}={{$v}}{{- $comma = "," -}}{{- end -}}
  {{- if not . -}}-{{- end -}}
{{- end -}}

{{- define "keys" -}}
  {{- $name := or .secretName .name -}}{{- $optional := or .optional false -}}
  {{- if .items -}}
    {{- range .items -}}{{"-\t"}}{{$name}}{{"\t"}}{{.key}}{{"\t"}}{{$optional}}{{" "}}{{- end -}}
  {{- else -}}
    {{- or .namespace "-"}}{{"\t"}}{{$name}}{{"\t"}}
    {{- or .key "-"}}{{"\t"}}{{$optional}}{{" "}}
  {{- end -}}
{{- end -}}

{{- define "refs" -}}
  {{- $type := printf "%T" . -}}
  {{- if eq $type "map[string]interface {}" -}}
    {{- range $k, $v := . -}}
      {{- $inner := printf "%T" $v -}}
      {{- if eq $inner "map[string]interface {}" -}}
        {{- if or (eq $k "secretKeyRef") (eq $k "secretRef") (eq $k "secret") -}}
          {{"refs\tSecret "}}{{template "keys" $v}}{{"\n"}}
        {{- else if or (eq $k "configMapKeyRef") (eq $k "configMapRef") (eq $k "configMap") -}}
          {{"refs\tConfigMap "}}{{template "keys" $v}}{{"\n"}}
        {{- end -}}
      {{- else if or (eq $k "imagePullSecrets") (eq $k "secretTargetRef") -}}
        {{- range $v -}}{{"refs\tSecret "}}{{template "keys" .}}{{"\n"}}{{- end -}}
      {{- end -}}
      {{- template "refs" $v -}}
    {{- end -}}
  {{- else if eq $type "[]interface {}" -}}
    {{- range . -}}{{- template "refs" . -}}{{- end -}}
  {{- end -}}
{{- end -}}

{{- define "probe" -}}
  {{- with .httpGet -}}
    {{"probe\t"}}{{or .scheme "HTTP"}}{{"\t"}}{{.port}}{{"\t"}}
    {{- or .path "/"}}{{"\t"}}
    {{- range .httpHeaders -}}{{.name}}: {{.value}}{{"\r"}}{{- end -}}{{"\n"}}
  {{- end -}}
{{- end -}}

{{- define "pod" -}}
  {{"podlabels\t"}}{{template "pairs" .metadata.labels}}{{"\n"}}
  {{- range .spec.containers -}}
    {{"image\t"}}{{.image}}{{"\n"}}
    {{- range .ports -}}{{"port\t"}}{{or .name "-"}}{{"\t"}}{{.containerPort}}{{"\n"}}{{- end -}}
    {{- with .startupProbe -}}{{template "probe" .}}{{- end -}}
    {{- with .livenessProbe -}}{{template "probe" .}}{{- end -}}
    {{- with .readinessProbe -}}{{template "probe" .}}{{- end -}}
  {{- end -}}
  {{- range .spec.initContainers -}}{{"initimage\t"}}{{.image}}{{"\n"}}{{- end -}}
  {{- range .spec.volumes -}}
    {{- with .persistentVolumeClaim -}}{{"claim\t"}}{{.claimName}}{{"\n"}}{{- end -}}
  {{- end -}}
{{- end -}}

{{- "object\t"}}{{.apiVersion}}{{"\t"}}{{.kind}}{{"\t"}}
{{- or .metadata.namespace "-"}}{{"\t"}}{{.metadata.name}}{{"\n"}}
{{- range $k, $v := .metadata.labels -}}
  {{- if eq $k "app.kubernetes.io/component" -}}{{"component\t"}}{{$v}}{{"\n"}}{{- end -}}
{{- end -}}

{{- if or (eq .kind "Deployment") (eq .kind "StatefulSet") (eq .kind "DaemonSet") -}}
  {{"match\t"}}{{template "pairs" .spec.selector.matchLabels}}{{"\n"}}
  {{- range $k, $v := .spec -}}{{- if eq $k "replicas" -}}{{"replicas\t"}}{{$v}}{{"\n"}}{{- end -}}{{- end -}}
  {{- range .spec.volumeClaimTemplates -}}{{"template\t"}}{{.metadata.name}}{{"\n"}}{{- end -}}
  {{- template "pod" .spec.template -}}
{{- else if eq .kind "Job" -}}
  {{- template "pod" .spec.template -}}
{{- else if eq .kind "CronJob" -}}
  {{- template "pod" .spec.jobTemplate.spec.template -}}
{{- else if eq .kind "Service" -}}
  {{"select\t"}}{{template "pairs" .spec.selector}}{{"\n"}}
  {{- "type\t"}}{{or .spec.type "ClusterIP"}}{{"\n"}}
  {{- range .spec.ports -}}
    {{"serviceport\t"}}{{or .name "-"}}{{"\t"}}{{.port}}{{"\t"}}
    {{- or .targetPort .port}}{{"\n"}}
  {{- end -}}
{{- else if or (eq .kind "HorizontalPodAutoscaler") (eq .kind "QueueAutoscaler") (eq .kind "ScaledObject") -}}
  {{- with .spec.scaleTargetRef -}}
    {{"target\t"}}{{or .kind "Deployment"}}{{"\t"}}{{.name}}{{"\n"}}
  {{- end -}}
  {{- if .spec.dryRun -}}{{"dryrun\n"}}{{- end -}}
  {{- if eq .kind "ScaledObject" -}}
    {{- $hpa := printf "keda-hpa-%s" .metadata.name -}}
    {{- with .spec.advanced -}}{{- with .horizontalPodAutoscalerConfig -}}
      {{- if .name -}}{{- $hpa = .name -}}{{- end -}}
    {{- end -}}{{- end -}}
    {{"hpa\t"}}{{$hpa}}{{"\n"}}
    {{- range .spec.triggers -}}{{- with .metadata -}}
      {{- if .scalerAddress -}}{{"scaler\t"}}{{.scalerAddress}}{{"\n"}}{{- end -}}
    {{- end -}}{{- end -}}
  {{- end -}}
{{- else if eq .kind "CustomResourceDefinition" -}}
  {{"defines\t"}}{{.spec.group}}{{"\t"}}{{.spec.names.kind}}{{"\t"}}{{.spec.scope}}{{"\n"}}
{{- else if eq .kind "Certificate" -}}
  {{"makes\t"}}{{.spec.secretName}}{{"\n"}}
{{- else if eq .kind "ExternalSecret" -}}
  {{- $name := .metadata.name -}}
  {{- with .spec.target -}}{{- if .name -}}{{- $name = .name -}}{{- end -}}{{- end -}}
  {{"makes\t"}}{{$name}}{{"\n"}}
{{- else if eq .kind "SealedSecret" -}}
  {{"makes\t"}}{{.metadata.name}}{{"\n"}}
{{- else if eq .kind "ConfigMap" -}}
  {{- range $k, $v := .data -}}{{"key\t"}}{{$k}}{{"\n"}}{{- end -}}
  {{- range $k, $v := .binaryData -}}{{"key\t"}}{{$k}}{{"\n"}}{{- end -}}
{{- else if eq .kind "Secret" -}}
  {{- range $k, $v := .stringData -}}{{"value\t"}}{{$k}}{{"\t"}}{{printf "%q" $v}}{{"\n"}}{{- end -}}
  {{- range $k, $v := .data -}}{{"value\t"}}{{$k}}{{"\t"}}{{printf "%q" (base64decode $v)}}{{"\n"}}{{- end -}}
{{- else if eq .kind "Ingress" -}}
  {{- range .spec.rules -}}{{- if .host -}}{{"host\t"}}{{.host}}{{"\n"}}{{- end -}}{{- end -}}
{{- end -}}
{{- if ne .kind "CustomResourceDefinition" -}}{{- template "refs" .spec -}}{{- end -}}
{{- if eq .kind "ServiceAccount" -}}{{- template "refs" . -}}{{- end -}}
'

# Builds $FOLDER, with images and a namespace of the caller's, into
#   $WORK/rendered.yaml, $WORK/objects/0001.yaml, ...
#   $WORK/facts         number, kind, namespace, name, fact, and what it says
# The caller's wishes are a kustomization of their own around the overlay, so that kustomize knows where images and
# namespaces stand, and we need not.
render() {
    local namespace=$1 name reference
    shift
    rm -rf "$WORK/around" "$WORK/objects"
    mkdir -p "$WORK/around" "$WORK/objects"
    {
        printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
        printf 'resources: ["%s"]\n' "$(realpath --relative-to="$WORK/around" "$FOLDER")"
        [[ -z $namespace ]] || printf 'namespace: "%s"\n' "$namespace"
        (($# == 0)) || printf 'images:\n'
        for reference in "$@"; do
            name=${reference%%=*} reference=${reference#*=}
            printf '  - name: "%s"\n    newName: "%s"\n' "$name" "$(image_name "$reference")"
            if [[ $reference == *@* ]]; then
                printf '    digest: "%s"\n' "${reference#*@}"
            elif [[ -n $(image_tag "$reference") ]]; then
                printf '    newTag: "%s"\n' "$(image_tag "$reference")"
            fi
        done
    } >"$WORK/around/kustomization.yaml"
    if ! kubectl kustomize "$WORK/around" >"$WORK/rendered.yaml" 2>"$WORK/error"; then
        fail "kustomize cannot build $FOLDER:"
        quote <"$WORK/error"
        return 1
    fi
    read_facts
}

read_facts() {
    # A line of three dashes parts documents, and cannot stand inside of one: what is below a key is indented.
    awk -v folder="$WORK/objects" '
        BEGIN { number = 1; file = sprintf("%s/%04d.yaml", folder, number) }
        $0 == "---" { close(file); file = sprintf("%s/%04d.yaml", folder, ++number); next }
        { print > file }' "$WORK/rendered.yaml"
    if ! kubectl annotate --local -f "$WORK/rendered.yaml" tidegate.dev/read=now -o go-template="$FACTS" \
        >"$WORK/raw" 2>"$WORK/error"; then
        fail "kubectl cannot read what kustomize built:"
        quote <"$WORK/error"
        return 1
    fi
    # Values of Secrets end here: all that is kept is whether they are the example's.
    awk -F '\t' -v OFS='\t' '
        $1 == "object" {
            where = sprintf("%04d", ++number) OFS $3 OFS $4 OFS $5
            print where, "object", $2
            next
        }
        $1 == "value" {
            print where, "key", $2
            if (tolower($3) ~ /change[-_]?me/) print where, "example", $2
            next
        }
        # One line for each key that is referred to.
        $1 == "refs" {
            line = $0
            sub(/^refs\t/, "", line)
            split(line, words, /[ ]/)
            for (i = 2; i in words; i++) if (words[i] != "") print where, "ref", words[1], words[i]
            next
        }
        { print where, $0 }' "$WORK/raw" >"$WORK/facts"
    rm "$WORK/raw"
    local files objects
    files=$(find "$WORK/objects" -name '*.yaml' | wc -l)
    objects=$(awk -F '\t' '$5 == "object"' "$WORK/facts" | wc -l)
    if ((files != objects)); then
        fail "$files documents, and kubectl reads $objects objects in them: nothing is applied that is not understood"
        return 1
    fi
}

# Facts of one kind: number, kind, namespace, name, and what it says.
facts() {
    awk -F '\t' -v OFS='\t' -v fact="$1" '$5 == fact { print $1, $2, $3, $4, $6, $7, $8, $9, $10 }' "$WORK/facts"
}

# What one object's fact says, a line each.
fact_of() { awk -F '\t' -v number="$1" -v fact="$2" '$1 == number && $5 == fact { print $6 }' "$WORK/facts"; }

# The namespace of the workloads, or of whatever else is in one.
main_namespace() {
    awk -F '\t' '
        $5 != "object" || $3 == "-" { next }
        $2 ~ /^(Deployment|StatefulSet|DaemonSet)$/ && of_workloads == "" { of_workloads = $3 }
        any == "" { any = $3 }
        END { print of_workloads == "" ? any : of_workloads }' "$WORK/facts"
}

workloads() { facts object | awk -F '\t' '$2 ~ /^(Deployment|StatefulSet|DaemonSet)$/'; }

# Whether every pair of selector $1 is among labels $2.
selects() {
    local pair
    local -a pairs
    [[ $1 != - ]] || return 1
    IFS=, read -ra pairs <<<"$1"
    for pair in "${pairs[@]}"; do
        [[ ,$2, == *",$pair,"* ]] || return 1
    done
}

# --- images ---------------------------------------------------------------------------------------------------------

# Without tag and digest. A colon before the last slash is a registry's port.
image_name() {
    local name=${1%%@*} last
    last=${name##*/}
    if [[ $last == *:* ]]; then name=${name%:*}; fi
    echo "$name"
}

image_tag() {
    local last=${1%%@*}
    last=${last##*/}
    if [[ $last == *:* ]]; then echo "${last##*:}"; fi
}
