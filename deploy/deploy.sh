#!/usr/bin/env bash
# Deploys tidegate, or one of the stacks: looks at everything first, then applies it in the order in which it is needed,
# and waits until it runs. Nothing is ever deleted but finished Jobs of the names that are run again.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
usage: deploy/deploy.sh WHAT [options]

WHAT is tidegate, or a stack: $(stacks | paste -sd' ' -)

  --overlay NAME            which overlay of it (standalone)
  --namespace NS            into this namespace instead of the overlay's own. Addresses inside of configuration, such as
                            tidegate.tidegate.svc, are not rewritten.
  --image NAME=REF          take REF for the image NAME of the manifests; may be given again
  --context CTX             the context of the kubeconfig
  --timeout DURATION        for each wait: data stores, each Job, the rollout (5m)
  --dry-run                 change nothing: build, check, and let the API server try. Without a cluster it builds, and
                            checks what can be checked.
  --skip-migrations         run no migration Job
  --allow-local-images      images without a registry are on the nodes already (kind, minikube)
  --allow-example-secrets   apply the examples of Secrets; for development
  --update-secrets          also apply Secrets that exist in the cluster; never an example
  --force-conflicts         take over fields that somebody else has set (kubectl set image, kubectl edit)
  --yes                     do not ask
  -h, --help

Images by environment, as a pipeline has them:
  IMAGE_REGISTRY            in front of the stack's own images: names without a registry that are no well-known ones
  IMAGE_NAME                the name of the image that is called WHAT in the manifests
  IMAGE_TAG                 its tag; without IMAGE_NAME that of all of the stack's own images
An --image wins over them. TIDEGATE_STACKS is the folder of the stacks ($STACKS).

Secrets: one that exists in the cluster stays as it is. One that does not, and whose value in the manifests is an
example ("change-me"), is refused.

Exit code: 0 deployed, 1 something failed, 2 the call is wrong.
END
}

# Whose fields are ours. Changing it would leave the old one as an owner of everything.
MANAGER=tidegate-deploy

# Images of Docker Hub that have neither a registry nor an owner in their names, and are meant. Any other name of one
# word is the stack's own: Docker Hub has no such image, or somebody else's.
WELL_KNOWN=" alpine busybox debian haproxy mariadb memcached mysql nginx postgres python rabbitmq redis traefik "

# What stores data is ready before migrations run and before the rest starts.
STORES=" postgres redis valkey mysql mariadb mongo rabbitmq memcached "

overlay=standalone namespace='' timeout=5m
dry_run=no skip_migrations=no local_images=no example_secrets=no update_secrets=no confirmed=no
images=() force=()

parse() {
    what=
    while (($#)); do
        case $1 in
            --overlay | --namespace | --image | --context | --timeout)
                (($# > 1)) || misused "$1 needs a value"
                [[ -n $2 ]] || misused "$1 needs a value"
                case $1 in
                    --overlay) overlay=$2 ;;
                    --namespace) namespace=$2 ;;
                    --image) images+=("$2") ;;
                    --context) KUBE=(--context "$2") ;;
                    --timeout) timeout=$2 ;;
                esac
                shift
                ;;
            --dry-run) dry_run=yes ;;
            --skip-migrations) skip_migrations=yes ;;
            --allow-local-images) local_images=yes ;;
            --allow-example-secrets) example_secrets=yes ;;
            --update-secrets) update_secrets=yes ;;
            --force-conflicts) force=(--force-conflicts) ;;
            --yes) confirmed=yes ;;
            -h | --help) usage && exit 0 ;;
            -*) misused "no such option: $1" ;;
            *)
                [[ -z $what ]] || misused "one thing at a time: $what, $1"
                what=$1
                ;;
        esac
        shift
    done
    [[ -n $what ]] || misused "what is to be deployed? tidegate, or a stack: $(stacks | paste -sd' ' -)"
    timeout_seconds=$(seconds "$timeout") || misused "--timeout $timeout is no duration; 5m, 90s, 1h30m are"
    ((timeout_seconds > 0)) || misused "--timeout has to be above zero"
    [[ -z $namespace || $namespace =~ ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$ ]] || misused "no name of a namespace: $namespace"
    local image
    for image in ${images[@]+"${images[@]}"}; do
        [[ $image == ?*=?* && $image != *[[:space:]\"]* ]] || misused "--image $image: NAME=REF is expected"
    done
}

# Ends here if a check has failed: nothing was changed by then, and all of them have been listed.
stop_if_failed() {
    ((failed == 0)) && return
    printf '\n%s%s not deployed: %d of the checks failed, nothing was changed%s\n' "$red" "$what" "$failed" "$plain"
    exit 1
}

stop() {
    printf '\n%s%s not deployed: %s%s\n' "$red" "$what" "$*" "$plain"
    exit 1
}

# --- rendering and images -------------------------------------------------------------------------------------------

is_own() {
    [[ $1 != */* && $WELL_KNOWN != *" $1 "* ]]
}

image_references() {
    awk -F '\t' '$5 == "image" || $5 == "initimage" { print $6 }' "$WORK/facts" | sort -u
}

# What IMAGE_REGISTRY, IMAGE_NAME and IMAGE_TAG make of the images, as NAME=REF.
images_by_environment() {
    local registry=${IMAGE_REGISTRY:-} called=${IMAGE_NAME:-} tag=${IMAGE_TAG:-}
    local image name last folder old_tag
    registry=${registry:+${registry%/}/}
    while read -r image; do
        name=$(image_name "$image") old_tag=$(image_tag "$image")
        last=${name##*/} folder=${name%"${name##*/}"}
        if [[ $last == "$what" ]]; then
            echo "$name=${registry:-$folder}${called:-$last}:${tag:-${old_tag:-latest}}"
        elif is_own "$name" && [[ -z $called ]]; then
            echo "$name=$registry$name:${tag:-${old_tag:-latest}}"
        elif is_own "$name" && [[ -n $registry ]]; then
            echo "$name=$registry$name:${old_tag:-latest}"
        fi
    done < <(image_references)
}

# Renders, with the images that are wanted.
build() {
    heading "Rendering $what, overlay $overlay"
    render "$namespace" || stop_if_failed
    local -a wanted=()
    local known image by_environment
    known=$(image_references | while read -r image; do image_name "$image"; done | sort -u)
    if [[ -n ${IMAGE_REGISTRY:-}${IMAGE_NAME:-}${IMAGE_TAG:-} ]]; then
        by_environment=$(images_by_environment)
        if [[ -n ${IMAGE_NAME:-} ]] && ! grep -q "[/]\?${IMAGE_NAME}:" <<<"$by_environment"; then
            fail "IMAGE_NAME=$IMAGE_NAME: no image here is called $what; say which by --image NAME=REF:" \
                "${known//$'\n'/ }"
        fi
        while read -r image; do
            # An --image wins.
            [[ -z $image || " ${images[*]-}" == *" ${image%%=*}="* ]] || wanted+=("$image")
        done <<<"$by_environment"
    fi
    for image in ${images[@]+"${images[@]}"}; do
        if ! grep -qxF "${image%%=*}" <<<"$known"; then
            fail "--image $image: no image here is called ${image%%=*}; there are: ${known//$'\n'/ }"
        fi
        wanted+=("$image")
    done
    stop_if_failed
    if ((${#wanted[@]})); then render "$namespace" "${wanted[@]}" || stop_if_failed; fi
    pass "$(facts object | wc -l | tr -d ' ') objects from ${FOLDER#"$PWD"/}"
    home=$(main_namespace)
    note "namespace $home"
}

check_images() {
    heading "Image references"
    local image name
    while read -r image; do
        name=$(image_name "$image")
        if is_own "$name"; then
            if [[ $local_images == yes ]]; then
                pass "$image, from the nodes"
                continue
            elif [[ $dry_run == no ]]; then
                fail "$image has no registry: IMAGE_REGISTRY=..., --image $name=REF," \
                    "or --allow-local-images where the nodes have it"
                continue
            fi
            warn "$image has no registry: outside of --dry-run that is refused without --allow-local-images"
        elif [[ $image != *@* && ($(image_tag "$image") == latest || -z $(image_tag "$image")) ]]; then
            warn "$image is another one tomorrow: write a tag or a digest"
        else
            pass "$image"
        fi
    done < <(image_references)
}

# --- what the cluster must have -------------------------------------------------------------------------------------

# Set once the cluster has answered.
cluster=no

check_the_cluster() {
    heading "Cluster"
    if check_cluster; then
        cluster=yes
    elif [[ $dry_run == yes ]]; then
        warn "no cluster answers: what needs one is not checked ($(first_line "$WORK/error"))"
        return
    else
        fail "no cluster answers: $(first_line "$WORK/error")"
        note "which one is meant: kubectl config get-contexts; deploy/deploy.sh --context CTX"
        return
    fi
    if ! k api-resources --no-headers >"$WORK/resources" 2>"$WORK/error"; then
        # An API whose server is down is no reason to stop, unless we need it.
        warn "not every API of the cluster answers: $(first_line "$WORK/error")"
    fi
    k api-versions >"$WORK/versions" 2>"$WORK/error" || true
    check_kinds
    check_tidegate
}

group_of() {
    if [[ $1 == */* ]]; then echo "${1%/*}"; fi
}

# The plural name of a kind that the cluster serves, with its group, as `kubectl auth can-i` wants it.
resource_of() {
    awk -v group="$(group_of "$1")" -v kind="$2" '
        { served = $(NF - 2); if (!sub(/\/[^\/]*$/, "", served)) served = "" }
        $NF == kind && served == group { print $1 (group == "" ? "" : "." group); exit }' "$WORK/resources"
}

# Whether the cluster has this kind in this version.
is_served() {
    [[ -n $(resource_of "$1" "$2") ]] && grep -qxF "$1" "$WORK/versions"
}

# Whether what we apply brings the kind along.
is_brought() {
    facts defines | awk -F '\t' -v group="$(group_of "$1")" -v kind="$2" '
        $5 == group && $6 == kind { found = 1 } END { exit !found }'
}

cure() {
    case $1 in
        tidegate.dev/*) echo "deploy/deploy.sh tidegate, or kubectl apply --server-side -k deploy/crds" ;;
        keda.sh/*) echo "install KEDA, or take --overlay standalone, where tidegate scales by itself" ;;
        monitoring.coreos.com/*)
            echo "install the Prometheus Operator, or take components/prometheus-operator out of the overlay" ;;
        cert-manager.io/*) echo "install cert-manager, or take an overlay without certificates of its own" ;;
        *) echo "install what brings $1" ;;
    esac
}

check_kinds() {
    local version kind missing=no
    while IFS=$'\t' read -r version kind; do
        is_served "$version" "$kind" && continue
        is_brought "$version" "$kind" && continue
        missing=yes
        fail "the cluster has no $kind of $version: $(cure "$version")"
    done < <(facts object | awk -F '\t' -v OFS='\t' '{ print $5, $2 }' | sort -u)
    # An overlay may leave the definitions to the cluster's administrators. Without them tidegate has nothing to read.
    if [[ $what == tidegate ]] && ! grep -q '^tidegate.dev/' "$WORK/versions" && [[ -z $(facts defines) ]]; then
        missing=yes
        fail "the cluster has no definitions of tidegate.dev, and this overlay brings none:" \
            "kubectl apply --server-side -k deploy/crds"
    fi
    [[ $missing == yes ]] || pass "every kind that is applied is there"
    if facts target | awk -F '\t' '$2 == "HorizontalPodAutoscaler" { found = 1 } END { exit !found }' &&
        ! grep -q '^metrics.k8s.io/' "$WORK/versions"; then
        warn "HorizontalPodAutoscalers on CPU or memory need metrics.k8s.io: install metrics-server"
    fi
}

# Whoever applies a QueueAutoscaler wants somebody to read it.
check_tidegate() {
    [[ $what != tidegate ]] || return 0
    [[ -n $(facts target | grep $'\tQueueAutoscaler\t')$(facts scaler) ]] || return 0
    local found
    found=$(k get deployments -A -l app.kubernetes.io/name=tidegate -o name 2>/dev/null) || return 0
    if [[ -n $found ]]; then
        pass "tidegate is deployed"
    else
        warn "nothing is scaled before tidegate is there: deploy/deploy.sh tidegate"
    fi
}

# absent, Active, Terminating, or unknown where we may not look.
namespace_state() {
    local state
    state=$(k get namespace "$1" --ignore-not-found -o "go-template=$(each '{{.status.phase}}')" 2>"$WORK/error") || {
        echo unknown
        return
    }
    echo "${state:-absent}"
}

# Into $WORK/namespaces, with their states: everything that we apply into.
check_namespaces() {
    local name state
    : >"$WORK/namespaces"
    [[ $cluster == yes ]] || return 0
    while read -r name; do
        state=$(namespace_state "$name")
        printf '%s\t%s\n' "$name" "$state" >>"$WORK/namespaces"
        case $state in
            Active) pass "namespace $name" ;;
            unknown) warn "namespace $name may not be looked at; taken as there: $(first_line "$WORK/error")" ;;
            absent)
                if facts object | awk -F '\t' -v name="$name" '
                    $2 == "Namespace" && $4 == name { found = 1 } END { exit !found }'; then
                    pass "namespace $name is made"
                else
                    fail "there is no namespace $name, and the overlay does not make it: kubectl create namespace $name"
                fi
                ;;
            *) fail "namespace $name is $state: wait until it is gone" ;;
        esac
    done < <(facts object | awk -F '\t' '$3 != "-" { print $3 }' | sort -u)
    # Into whatever namespace the kubeconfig names today, it would go.
    while IFS=$'\t' read -r _ kind _ name version; do
        awk -v resource="$(resource_of "$version" "$kind")" '
            { split(resource, words, ".") } $1 == words[1] && $(NF - 1) == "true" { found = 1 } END { exit !found }' \
            "$WORK/resources" || continue
        fail "$kind $name says no namespace: --namespace NS"
    done < <(facts object | awk -F '\t' '$3 == "-"')
}

in_namespace() { awk -F '\t' -v name="$1" '$1 == name { print $2 }' "$WORK/namespaces"; }

check_permissions() {
    [[ $cluster == yes ]] || return 0
    heading "Permissions"
    local asked=0 denied=0 place verb resource where
    while IFS=$'\t' read -r place verb resource; do
        asked=$((asked + 1))
        where=(-n "$place")
        [[ $place != - ]] || where=()
        # pods/log would be a pod called log.
        if [[ $resource == */* ]]; then where+=(--subresource "${resource#*/}"); fi
        k auth can-i "$verb" "${resource%/*}" ${where[@]+"${where[@]}"} --quiet >/dev/null 2>"$WORK/error" && continue
        denied=$((denied + 1))
        # A no is silent, but for a warning and a blank line where the kind is in no namespace.
        if grep -v -e '^Warning:' -e '^[[:space:]]*$' "$WORK/error" >/dev/null; then
            warn "nobody says whether one may $verb $resource: $(first_line "$WORK/error")"
            continue
        fi
        fail "may not $verb $resource$([[ $place == - ]] || echo " in $place")"
    done < <(wanted_permissions | sort -u)
    ((denied)) || pass "$asked of $asked permissions"
}

# Server-side apply is a patch. That it may create as well is what the dry run shows.
wanted_permissions() {
    local kind place version resource
    while IFS=$'\t' read -r kind place version; do
        resource=$(resource_of "$version" "$kind")
        [[ -n $resource ]] || continue
        printf '%s\tpatch\t%s\n' "$place" "$resource"
        case $kind in
            Job) printf '%s\t%s\tjobs.batch\n' "$place" create "$place" delete ;;
            Deployment | StatefulSet) printf '%s\tlist\tpods\n%s\tget\tpods/log\n' "$place" "$place" ;;
        esac
    done < <(facts object | awk -F '\t' -v OFS='\t' '{ print $2, $3, $5 }' | sort -u)
}

# --- Secrets and ConfigMaps -----------------------------------------------------------------------------------------

# Objects that are not applied, by number.
dropped=' '

is_dropped() { [[ $dropped == *" $1 "* ]]; }

# A line for the object itself, which may have no keys, and one for each key.
# shellcheck disable=SC2016
KEYS='it is there{{"\n"}}
{{- range $k, $v := .data}}{{$k}}{{"\n"}}{{end}}
{{- range $k, $v := .binaryData}}{{$k}}{{"\n"}}{{end}}'

# The keys of a Secret or ConfigMap of the cluster into $WORK/keys/..., asked for once. False where there is none.
keys_in_cluster() {
    local file=$WORK/keys/$1.$2.$3
    if [[ ! -e $file ]]; then
        mkdir -p "$WORK/keys"
        k get "${1,,}" "$3" -n "$2" --ignore-not-found -o "go-template=$(each "$KEYS")" >"$file" 2>"$WORK/error" || {
            fail "$1 $2/$3 cannot be looked at: $(first_line "$WORK/error")"
            echo "unreadable" >"$file"
        }
    fi
    [[ -s $file ]]
}

check_secrets() {
    heading "Secrets and ConfigMaps"
    local number place name examples
    while IFS=$'\t' read -r number _ place name _; do
        examples=$(fact_of "$number" example | paste -sd' ' -)
        if [[ $cluster == yes ]] && keys_in_cluster Secret "$place" "$name"; then
            if [[ -n $examples ]]; then
                dropped+="$number "
                pass "Secret $place/$name exists and stays as it is; the example is not applied"
            elif [[ $update_secrets == no ]]; then
                dropped+="$number "
                pass "Secret $place/$name exists and stays as it is (--update-secrets would apply the overlay's)"
            else
                pass "Secret $place/$name is applied over the one that exists"
            fi
        elif [[ -z $examples ]]; then
            pass "Secret $place/$name is made"
        elif [[ $example_secrets == yes ]]; then
            warn "Secret $place/$name is made from the example: $examples"
        elif [[ $dry_run == yes ]]; then
            warn "Secret $place/$name is an example: $examples"
        else
            fail "Secret $place/$name is an example: $examples"
            note "make it first: kubectl -n $place create secret generic $name $(
                fact_of "$number" key | sed 's/.*/--from-literal=&=.../' | paste -sd' ' -)"
            note "or, for development, --allow-example-secrets"
        fi
    done < <(facts object | awk -F '\t' '$2 == "Secret"')
    check_references
    local left
    left=$(example_hosts)
    [[ -z $left ]] || warn "hosts of example.com stand in: $left"
}

example_hosts() {
    local number kind name
    while IFS=$'\t' read -r number kind _ name _; do
        is_dropped "$number" && continue
        case $kind in
            ConfigMap | Ingress | Secret | Connection | ClusterConnection | ScaledObject)
                if grep -q 'example\.com' "$WORK/objects/$number.yaml"; then echo "$kind $name"; fi
                ;;
        esac
    done < <(facts object) | paste -sd, - | sed 's/,/, /g'
}

# What is referred to is rendered or in the cluster, with the key. All that is missing is listed.
check_references() {
    local kind place name key who with number made told=' ' missing=0 unknown=0 checked=0
    while IFS=$'\t' read -r kind place name key who; do
        checked=$((checked + 1)) with=''
        [[ $key == - ]] || with=", with $key"
        number=$(facts object | awk -F '\t' -v kind="$kind" -v place="$place" -v name="$name" '
            $2 == kind && $3 == place && $4 == name { print $1 }')
        if [[ -n $number ]] && ! is_dropped "$number"; then
            [[ $key == - ]] && continue
            fact_of "$number" key | grep -xF -e "$key" >/dev/null && continue
            missing=$((missing + 1))
            fail "$kind $place/$name of the overlay has no key $key, which is wanted by $who"
            continue
        fi
        made=$(facts makes | awk -F '\t' -v place="$place" -v name="$name" '
            $3 == place && $5 == name && !found++ { print $2 " " $4 }')
        if [[ $kind == Secret && -n $made ]]; then
            [[ $told == *" $name "* ]] || note "Secret $place/$name comes from $made"
            told+="$name "
        elif [[ $cluster == no ]]; then
            unknown=$((unknown + 1))
            warn "$kind $place/$name is not in the overlay: it must be in the cluster$with, for $who"
        elif ! keys_in_cluster "$kind" "$place" "$name"; then
            missing=$((missing + 1))
            fail "$kind $place/$name is neither in the overlay nor in the cluster; wanted by $who$with"
        elif [[ $key != - ]] && ! grep -qxF -e "$key" -e unreadable "$WORK/keys/$kind.$place.$name"; then
            missing=$((missing + 1))
            fail "$kind $place/$name of the cluster has no key $key, which is wanted by $who"
        fi
    done < <(references)
    ((missing || unknown)) || pass "$checked references have what they refer to"
}

# Kind, namespace, name, key, and who wants it. What is optional is left out, and what lies in a namespace that only
# KEDA or tidegate knows.
references() {
    facts ref | awk -F '\t' '
        $9 != "true" {
            place = $6 == "-" ? $3 : $6
            if (place == "-") next
            id = $5 "\t" place "\t" $7 "\t" $8
            who = $2 " " $4
            if (!((id, who) in seen)) people[id] = people[id] (people[id] == "" ? "" : ", ") who
            seen[id, who] = 1
        }
        END { for (id in people) print id "\t" people[id] }' | sort
}

# --- replicas that somebody else has --------------------------------------------------------------------------------

# A workload's replicas, and whether they are ours.
# shellcheck disable=SC2016
REPLICAS='{{.spec.replicas}} {{range .metadata.managedFields}}
{{- if eq .manager "'$MANAGER'"}}{{with .fieldsV1}}{{range $k, $v := index . "f:spec"}}
{{- if eq $k "f:replicas"}}ours{{end}}{{end}}{{end}}{{end}}{{end}}'

# A workload that is scaled keeps the number it has. Where its manifest names one, or an earlier deployment of ours did
# (what is left out of a server-side apply goes back to its default of one), the live number is written instead.
keep_replicas() {
    [[ $cluster == yes ]] || return 0
    local number kind place name found live ours
    while IFS=$'\t' read -r number kind place name _; do
        is_scaled "$kind" "$place" "$name" || continue
        found=$(k get "${kind,,}" "$name" -n "$place" --ignore-not-found --show-managed-fields \
            -o "go-template=$(each "$REPLICAS")" 2>/dev/null) || continue
        live=${found%% *} ours=${found#* }
        [[ $live =~ ^[0-9]+$ ]] || continue
        [[ -n $(fact_of "$number" replicas) || -n $ours ]] || continue
        awk -v live="$live" '
            /^[^ ]/ { spec = $0 == "spec:" }
            spec && /^  replicas:/ { next }
            { print }
            /^spec:$/ { print "  replicas: " live }' "$WORK/objects/$number.yaml" >"$WORK/edited"
        mv "$WORK/edited" "$WORK/objects/$number.yaml"
        note "$kind $place/$name keeps its $live replicas: an autoscaler has them"
    done < <(workloads)
}

is_scaled() {
    facts target | awk -F '\t' -v kind="$1" -v place="$2" -v name="$3" '
        $3 == place && $5 == kind && $6 == name { found = 1 } END { exit !found }'
}

# --- in which order -------------------------------------------------------------------------------------------------

is_store() {
    local image name
    while read -r image; do
        name=$(image_name "$image")
        if [[ $STORES == *" ${name##*/} "* ]]; then return 0; fi
    done < <(fact_of "$1" image | head -n 1)
    return 1
}

# Whether a Service leads to one of the stores.
leads_to_store() {
    local selector labels store
    selector=$(fact_of "$1" select)
    for store in $stores; do
        labels=$(fact_of "$store" podlabels)
        if selects "$selector" "$labels"; then return 0; fi
    done
    return 1
}

# Into $WORK/plan: number, and the step it is applied in.
plan() {
    local number kind place name step
    stores=
    while IFS=$'\t' read -r number kind _; do
        if is_store "$number"; then stores+="$number "; fi
    done < <(workloads)
    while IFS=$'\t' read -r number kind place name _; do
        is_dropped "$number" && continue
        case $kind in
            CustomResourceDefinition) step=definitions ;;
            Namespace) step=namespace ;;
            ServiceAccount | Role | RoleBinding | ClusterRole | ClusterRoleBinding | ConfigMap | Secret | \
                ResourceQuota | LimitRange | NetworkPolicy | PriorityClass | Issuer | ClusterIssuer | Certificate | \
                ExternalSecret | SecretStore | ClusterSecretStore | SealedSecret) step=configuration ;;
            StorageClass | PersistentVolume | PersistentVolumeClaim) step=storage ;;
            Deployment | StatefulSet | DaemonSet)
                step=application
                if [[ " $stores" == *" $number "* ]]; then step=stores; fi
                ;;
            Service)
                step=application
                if leads_to_store "$number"; then step=stores; fi
                ;;
            Job)
                case "$name $(fact_of "$number" component)" in
                    *migrat*) step=migrations ;;
                    *static*) step=static ;;
                    *) step="jobs" ;;
                esac
                [[ $step != migrations || $skip_migrations == no ]] || continue
                ;;
            *) step=application ;;
        esac
        printf '%s\t%s\t%s\t%s\t%s\n' "$number" "$step" "$kind" "$place" "$name"
    done < <(facts object) >"$WORK/plan"
}

# The numbers of a step.
step() { awk -F '\t' -v step="$1" '$2 == step { print $1 }' "$WORK/plan"; }

# --- trying -----------------------------------------------------------------------------------------------------

join() {
    local number
    for number in "$@"; do
        cat "$WORK/objects/$number.yaml"
        echo "---"
    done
}

# A Job that exists cannot be changed, and is deleted before it is applied. So it is tried under another name.
under_another_name() {
    awk '/^[^ ]/ { metadata = $0 == "metadata:" }
        metadata && /^  name: / { sub(/^  name:/, "  generateName:"); $0 = $0 "-" }
        { print }' "$WORK/objects/$1.yaml"
}

# What the API server says to these objects, without doing it.
try() {
    local number kind
    local -a objects=() jobs=()
    for number in "$@"; do
        kind=$(awk -F '\t' -v number="$number" '$1 == number { print $3 }' "$WORK/plan")
        if [[ $kind == Job ]]; then jobs+=("$number"); else objects+=("$number"); fi
    done
    : >"$WORK/said"
    if ((${#objects[@]})); then
        join "${objects[@]}" >"$WORK/try.yaml"
        k apply --server-side --field-manager="$MANAGER" ${force[@]+"${force[@]}"} --dry-run=server \
            -f "$WORK/try.yaml" >/dev/null 2>>"$WORK/said" || refused "$WORK/said"
    fi
    for number in ${jobs[@]+"${jobs[@]}"}; do
        under_another_name "$number" >"$WORK/try.yaml"
        k create --dry-run=server -f "$WORK/try.yaml" >/dev/null 2>"$WORK/error" || refused "$WORK/error"
        cat "$WORK/error" >>"$WORK/said"
    done
    # What it warns of: deprecated versions, pods that a namespace's security standard does not admit.
    grep '^Warning:' "$WORK/said" | sort -u | quote || true
}

refused() {
    fail "the API server refuses:"
    grep -v '^Warning:' "$1" | quote
    if grep -q 'conflict' "$1"; then
        note "somebody else has set these fields: write what they set into the overlay, or --force-conflicts"
    fi
}

# Numbers of what can be tried now, and those of what has to wait for a namespace or a definition of this deployment.
now_or_later() {
    local number kind place version
    while IFS=$'\t' read -r number _ kind place _; do
        version=$(fact_of "$number" object)
        if [[ $place != - && $(in_namespace "$place") == absent ]] || ! is_served "$version" "$kind"; then
            later+=("$number")
        else
            now+=("$number")
        fi
    done <"$WORK/plan"
}

try_all() {
    heading "Server-side dry run"
    if [[ $cluster == no ]]; then
        warn "no cluster: only built, and read by kubectl"
        return
    fi
    now=() later=()
    now_or_later
    local before=$failed
    try ${now[@]+"${now[@]}"}
    ((failed > before)) || pass "${#now[@]} objects would be taken"
    if ((${#later[@]})); then
        note "${#later[@]} objects need a namespace or a definition that this deployment makes: they are tried after it"
    fi
}

# --- applying -------------------------------------------------------------------------------------------------------

created=0 changed=0 unchanged=0

# What an object's version is, by kubectl get or by kubectl apply.
VERSIONS='{{.kind}}{{"\t"}}{{if .metadata.namespace}}{{.metadata.namespace}}/{{end}}{{.metadata.name}}{{"\t"}}
{{- .metadata.resourceVersion}}{{"\n"}}'

# Applies some objects. `serverside-applied` is all that kubectl says; whether something changed, the versions say.
apply() {
    local what_they_are=$1 counts
    shift
    if (($# == 0)); then
        note "none"
        return
    fi
    join "$@" >"$WORK/apply.yaml"
    k get -f "$WORK/apply.yaml" --ignore-not-found -o "go-template=$(each "$VERSIONS")" \
        >"$WORK/before" 2>/dev/null || true
    if ! k apply --server-side --field-manager="$MANAGER" ${force[@]+"${force[@]}"} -f "$WORK/apply.yaml" \
        -o "go-template=$(each "$VERSIONS")" >"$WORK/after" 2>"$WORK/error"; then
        refused "$WORK/error"
        stop "what was applied before this step stays; correct it and run this again"
    fi
    { grep '^Warning:' "$WORK/error" || true; } | sort -u | quote
    awk -F '\t' -v before="$WORK/before" -v counts="$WORK/counts" '
        BEGIN { while ((getline < before) > 0) version[$1, $2] = $3 }
        { word = !(($1, $2) in version) ? "created" : version[$1, $2] == $3 ? "unchanged" : "changed" }
        { count[word]++ }
        word != "unchanged" { printf "        %-9s  %s %s\n", word, $1, $2 }
        END { print count["created"] + 0, count["changed"] + 0, count["unchanged"] + 0 > counts }
    ' "$WORK/after"
    counts=$(<"$WORK/counts")
    local -a three
    read -ra three <<<"$counts"
    created=$((created + three[0])) changed=$((changed + three[1])) unchanged=$((unchanged + three[2]))
    pass "$what_they_are: ${three[0]} created, ${three[1]} changed, ${three[2]} unchanged"
}

apply_step() {
    local -a numbers
    mapfile -t numbers < <(step "$1")
    apply "$2" ${numbers[@]+"${numbers[@]}"}
}

apply_definitions() {
    heading "Definitions"
    apply_step definitions "definitions"
    local -a names
    mapfile -t names < <(awk -F '\t' '$2 == "definitions" { print "customresourcedefinition/" $5 }' "$WORK/plan")
    ((${#names[@]})) || return 0
    if ! k wait --for=condition=Established --timeout="${timeout_seconds}s" "${names[@]}" \
        >/dev/null 2>"$WORK/error"; then
        fail "the definitions are not Established within $timeout: $(first_line "$WORK/error")"
        stop "what comes next needs them"
    fi
    pass "${#names[@]} definitions are Established"
}

apply_namespaces() {
    heading "Namespace"
    apply_step namespace "namespaces"
}

# What could not be tried before: before anything of it is applied.
try_the_rest() {
    ((${#later[@]})) || return 0
    local before=$failed
    try "${later[@]}"
    if ((failed > before)); then stop "definitions and namespaces stay; correct it and run this again"; fi
    pass "dry run: ${#later[@]} more objects would be taken"
}

apply_stores() {
    heading "Data stores"
    apply_step stores "data stores"
    local -a waiting=()
    local number
    for number in $stores; do
        if [[ -n $(awk -F '\t' -v number="$number" '$1 == number' "$WORK/plan") ]]; then waiting+=("$number"); fi
    done
    wait_for_all ${waiting[@]+"${waiting[@]}"} || stop "migrations and the application need their data stores"
}

# --- Jobs -----------------------------------------------------------------------------------------------------------

# absent, running, complete or failed.
job_state() {
    local state
    state=$(k get job "$2" -n "$1" --ignore-not-found -o "go-template=$(
        each '{{range .status.conditions}}{{if eq .status "True"}}{{.type}} {{end}}{{end}}running'
    )" 2>"$WORK/error") || state=running
    case " $state" in
        *" Failed "*) echo failed ;;
        *" Complete "*) echo complete ;;
        *running) echo running ;;
        *) echo absent ;;
    esac
}

# Until it is no longer running, within the timeout.
wait_for_job() {
    local place=$1 name=$2 state until=$((SECONDS + timeout_seconds))
    while state=$(job_state "$place" "$name") && [[ $state == running ]]; do
        if ((SECONDS >= until)); then break; fi
        sleep 1
    done
    echo "$state"
}

run_job() {
    local number=$1 place=$2 name=$3 state began
    state=$(job_state "$place" "$name")
    if [[ $state == running ]]; then
        note "Job $place/$name of before is running; waiting for its end"
        state=$(wait_for_job "$place" "$name")
    fi
    if [[ $state == running ]]; then
        fail "Job $place/$name of before has not ended within $timeout: kubectl -n $place delete job $name"
        stop "it must not run twice"
    fi
    if [[ $state != absent ]]; then
        if ! k delete job "$name" -n "$place" --ignore-not-found --wait --timeout="${timeout_seconds}s" \
            >/dev/null 2>"$WORK/error"; then
            fail "Job $place/$name of before cannot be deleted: $(first_line "$WORK/error")"
            stop "a Job cannot be changed, only made anew"
        fi
        note "Job $place/$name of before, $state, is deleted"
    fi
    apply "Job $place/$name" "$number"
    began=$SECONDS
    state=$(wait_for_job "$place" "$name")
    case $state in
        complete) pass "Job $place/$name is complete, after $((SECONDS - began)) s" && return ;;
        failed) fail "Job $place/$name has failed; its pods said last:" ;;
        absent) fail "Job $place/$name has been deleted while it ran" ;;
        *) fail "Job $place/$name is not complete within $timeout; its pods said last:" ;;
    esac
    { k logs -n "$place" -l "job-name=$name" --all-containers --tail=40 --prefix 2>&1 || true; } | quote
    show_events "$place" "$name"
    stop "the application is as it was before"
}

run_jobs() {
    heading "$2"
    local number place name any=no
    while IFS=$'\t' read -r number _ _ place name; do
        any=yes
        run_job "$number" "$place" "$name"
    done < <(awk -F '\t' -v step="$1" '$2 == step' "$WORK/plan")
    if [[ $1 == migrations && $skip_migrations == yes ]]; then
        note "skipped"
    elif [[ $any == no ]]; then
        note "no Job for that in this overlay"
    fi
}

# --- rollouts -------------------------------------------------------------------------------------------------------

# All of them roll out at the same time, so the timeout is for them together.
wait_for_all() {
    local number kind place name left until=$((SECONDS + timeout_seconds))
    local -a failing=()
    for number in "$@"; do
        IFS=$'\t' read -r _ kind place name _ < <(facts object | awk -F '\t' -v number="$number" '$1 == number')
        left=$((until - SECONDS))
        ((left > 0)) || left=1
        if k rollout status "${kind,,}/$name" -n "$place" --timeout="${left}s" >"$WORK/rollout" 2>"$WORK/error"; then
            pass "$kind $place/$name has rolled out"
        else
            fail "$kind $place/$name has not rolled out within $timeout: $(first_line "$WORK/error")"
            failing+=("$number")
        fi
    done
    for number in ${failing[@]+"${failing[@]}"}; do
        diagnose "$number"
    done
    ((${#failing[@]} == 0))
}

show_events() {
    local lines
    lines=$(k get events -n "$1" --field-selector type=Warning --sort-by=.lastTimestamp --no-headers 2>/dev/null |
        awk -v name="/$2" 'index($4, name)' | tail -n 8) || true
    [[ -z $lines ]] || { note "events:" && quote <<<"$lines"; }
}

# A pod's name, whether it is Ready, and the restarts of its containers.
READINESS='{{.metadata.name}} {{range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}
{{- " "}}{{range .status.containerStatuses}}{{.restartCount}},{{end}}{{"\n"}}'

# Everything that one would look at next.
diagnose() {
    local kind place name selector pod ready restarts shown=0
    IFS=$'\t' read -r _ kind place name _ < <(facts object | awk -F '\t' -v number="$1" '$1 == number')
    selector=$(fact_of "$1" match)
    printf '\n  %s%s %s/%s%s\n' "$bold" "$kind" "$place" "$name" "$plain"
    note "pods:"
    { k get pods -n "$place" -l "$selector" -o wide 2>&1 || true; } | quote
    show_events "$place" "$name"
    while read -r pod ready restarts; do
        [[ $ready == True ]] && continue
        shown=$((shown + 1))
        ((shown <= 3)) || break
        note "last lines of $pod:"
        { k logs "$pod" -n "$place" --all-containers --tail=20 2>&1 || true; } | quote
        if [[ $restarts == *[1-9]* ]]; then
            note "and before its last restart:"
            { k logs "$pod" -n "$place" --all-containers --tail=20 --previous 2>&1 || true; } | quote
        fi
    done < <(k get pods -n "$place" -l "$selector" -o "go-template=$(each "$READINESS")" 2>/dev/null || true)
}

wait_for_rollout() {
    heading "Rollout"
    local -a numbers
    mapfile -t numbers < <(workloads | cut -f 1 | grep -vxF -e "${stores// /$'\n'}" || true)
    wait_for_all ${numbers[@]+"${numbers[@]}"} ||
        stop "the rollout is not complete. To go back: kubectl -n $home rollout undo deployment/NAME"
}

# --- and then -------------------------------------------------------------------------------------------------------

show_status() {
    heading "Status"
    local kinds=deployments,statefulsets,pods,services,persistentvolumeclaims,ingresses,horizontalpodautoscalers
    { k get "$kinds" -n "$home" 2>&1 || true; } | quote
    local kind
    for kind in QueueAutoscaler ScaledObject; do
        facts target | grep $'\t'"$kind"$'\t' >/dev/null || continue
        { k get "${kind,,}s" -n "$home" 2>&1 || true; } | quote
    done
}

show_access() {
    heading "How to reach it"
    local context='' number name port host local_port=8080
    ((${#KUBE[@]} == 0)) || context=" --context ${KUBE[1]}"
    facts host | cut -f 5 | sort -u | while read -r host; do note "https://$host (Ingress)"; done
    while IFS=$'\t' read -r number _ _ name _; do
        if [[ $(fact_of "$number" type) == LoadBalancer ]]; then
            note "kubectl$context -n $home get service $name        (its address)"
        fi
        port=$(facts serviceport | awk -F '\t' -v number="$number" '
            $1 == number && $5 ~ /^http/ && !found++ { print $6 }')
        [[ -n $port ]] || continue
        note "kubectl$context -n $home port-forward service/$name $local_port:$port" \
            "       then http://localhost:$local_port/"
        local_port=$((local_port + 1))
    done < <(facts object | awk -F '\t' -v home="$home" '$2 == "Service" && $3 == home')
    if [[ $what == tidegate ]]; then note "kubectl$context get queueautoscalers -A"; fi
    note "and now: deploy/validate.sh $what$([[ $overlay == standalone ]] || echo " --overlay $overlay")$(
        [[ -z $namespace ]] || echo " --namespace $namespace")$context"
}

# A person is asked; a pipeline has said what it wants.
confirm() {
    if [[ $confirmed == yes || ! -t 0 || ! -t 1 ]]; then return; fi
    local answer
    printf '\nDeploy %s (%s) into %s%s? [y/N] ' "$what" "$overlay" "$home" "$(in_context)"
    read -r answer
    [[ $answer == [yY]* ]] || stop "as you say; nothing was changed"
}

main() {
    parse "$@"
    make_work
    heading "Tools"
    check_tools || stop_if_failed
    find_folder "$what" "$overlay"
    build
    check_images
    check_the_cluster
    check_namespaces
    stop_if_failed
    check_permissions
    check_secrets
    plan
    keep_replicas
    try_all
    stop_if_failed
    if [[ $dry_run == yes ]]; then
        printf '\n%s%s: dry run, nothing was changed; %d warnings%s\n' "$bold" "$what" "$warned" "$plain"
        return
    fi
    confirm
    apply_definitions
    apply_namespaces
    try_the_rest
    heading "Configuration and Secrets"
    apply_step configuration "configuration"
    heading "Storage"
    apply_step storage "storage"
    apply_stores
    run_jobs migrations "Migrations"
    run_jobs static "Static files"
    run_jobs jobs "Other Jobs"
    heading "Application"
    apply_step application "application"
    wait_for_rollout
    show_status
    show_access
    printf '\n%s%s deployed: %d created, %d changed, %d unchanged; %d warnings%s\n' \
        "$green" "$what" "$created" "$changed" "$unchanged" "$warned" "$plain"
}

main "$@"
