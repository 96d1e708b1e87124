#!/usr/bin/env bash
# Whether what was deployed runs: tidegate, or one of the stacks. It looks, and changes nothing.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
usage: deploy/validate.sh WHAT [options]

WHAT is tidegate, or a stack: $(stacks | paste -sd' ' -)

  --overlay NAME          which overlay of it was deployed (standalone)
  --namespace NS          the namespace it was deployed into, where that is not the overlay's own
  --context CTX           the context of the kubeconfig
  --since DURATION        how far back logs are read, and which restarts are fresh (10m)
  --max-restarts N        more restarts of a container than these are a warning, and a failure if the last is fresh (3)
  --health SERVICE:PORT/PATH   ask this too; may be given again
  --log-pattern REGEX     what makes a line of a log an error (extended regular expression)
  --dry-run               say what would be checked, and ask no cluster
  -h, --help

Health endpoints are those of the probes, and are asked for through the API server, so that no pod needs a program for
it. Where a NetworkPolicy or the application (a Host header that it does not know) is in the way, they are asked for
once more through a port-forward, with the headers of the probe.

Exit code: 0 nothing failed (there may be warnings), 1 something failed, 2 the call is wrong.
END
}

# Lines that somebody should read. Words in capitals stand alone, so that neither ERROR_COUNT nor "0 errors" is one.
log_pattern='(^|[^[:alnum:]_-])(ERROR|CRITICAL|FATAL|PANIC|EMERG)([^[:alnum:]_-]|$)'
log_pattern+='|Traceback \(most recent call last\)|panicked at |^panic: '
log_pattern+='|"(level|severity|levelname)": ?"(error|critical|fatal|panic)"|level=(error|critical|fatal|panic)'
log_pattern+='|\[(error|crit|alert|emerg)\]'

overlay=standalone namespace='' since=10m max_restarts=3 dry_run=no
health=()

parse() {
    what=
    while (($#)); do
        case $1 in
            --overlay | --namespace | --context | --since | --max-restarts | --health | --log-pattern)
                [[ -n ${2:-} ]] || misused "$1 needs a value"
                case $1 in
                    --overlay) overlay=$2 ;;
                    --namespace) namespace=$2 ;;
                    --context) KUBE=(--context "$2") ;;
                    --since) since=$2 ;;
                    --max-restarts) max_restarts=$2 ;;
                    --health) health+=("$2") ;;
                    --log-pattern) log_pattern=$2 ;;
                esac
                shift
                ;;
            --dry-run) dry_run=yes ;;
            -h | --help) usage && exit 0 ;;
            -*) misused "no such option: $1" ;;
            *)
                [[ -z $what ]] || misused "one thing at a time: $what, $1"
                what=$1
                ;;
        esac
        shift
    done
    [[ -n $what ]] || misused "what is to be looked at? tidegate, or a stack: $(stacks | paste -sd' ' -)"
    since_seconds=$(seconds "$since") || misused "--since $since is no duration; 10m, 90s, 1h are"
    [[ $max_restarts =~ ^[0-9]+$ ]] || misused "--max-restarts $max_restarts is no number"
    [[ -z $namespace || $namespace =~ ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$ ]] || misused "no name of a namespace: $namespace"
    local one
    for one in ${health[@]+"${health[@]}"}; do
        [[ $one =~ ^[a-z0-9-]+:[a-z0-9-]+/ ]] || misused "--health $one: SERVICE:PORT/PATH is expected"
    done
    # grep says 1 where nothing matches, and 2 where it does not understand.
    local code=0
    grep -Eq -e "$log_pattern" /dev/null 2>/dev/null || code=$?
    ((code < 2)) || misused "--log-pattern: not a regular expression"
}

# --- what the cluster has ---------------------------------------------------------------------------------------------

# Columns are parted by tabs, what is empty is a dash, and words of others are quoted: they may have anything in them.
# shellcheck disable=SC2016
OF_WORKLOAD='{{.kind}}{{"\t"}}{{.metadata.name}}{{"\t"}}{{.metadata.generation}}{{"\t"}}
{{- if .status.observedGeneration}}{{.status.observedGeneration}}{{else}}0{{end}}{{"\t"}}
{{- if eq .kind "DaemonSet"}}{{.status.desiredNumberScheduled}}{{"\t"}}{{.status.numberReady}}{{"\t"}}
{{- if .status.updatedNumberScheduled}}{{.status.updatedNumberScheduled}}{{else}}0{{end}}
{{- else}}{{.spec.replicas}}{{"\t"}}{{if .status.readyReplicas}}{{.status.readyReplicas}}{{else}}0{{end}}{{"\t"}}
{{- if .status.updatedReplicas}}{{.status.updatedReplicas}}{{else}}0{{end}}{{end}}{{"\t"}}
{{- range .status.conditions}}
{{- if and (eq .type "Progressing") (eq .status "False")}}{{.reason}}: {{.message}} {{end}}
{{- if and (eq .type "ReplicaFailure") (eq .status "True")}}{{.reason}}: {{.message}} {{end}}
{{- end}}{{"\n"}}'

# shellcheck disable=SC2016
OF_CONTAINER='{{define "container"}}{{.name}}{{"\t"}}{{.restartCount}}{{"\t"}}
{{- $why := "-"}}{{$words := "-"}}{{with .state.waiting}}
{{- $why = .reason}}{{$words = printf "%.300q" (or .message "")}}{{end}}{{$why}}{{"\t"}}{{$words}}{{"\t"}}
{{- $end := "-"}}{{$at := "-"}}{{with .lastState.terminated}}
{{- $end = .reason}}{{$at = .finishedAt}}{{end}}{{$end}}{{"\t"}}{{$at}}{{"\n"}}
{{- end}}'

# shellcheck disable=SC2016
OF_POD='{{$pod := .metadata.name}}pod{{"\t"}}{{$pod}}{{"\t"}}{{.status.phase}}{{"\t"}}
{{- $ready := "False"}}{{$place := "-"}}{{range .status.conditions}}
{{- if eq .type "Ready"}}{{$ready = .status}}{{end}}
{{- if and (eq .type "PodScheduled") (eq .status "False")}}
{{- $place = printf "%.300q" (or .message "not scheduled")}}{{end}}
{{- end}}{{$ready}}{{"\t"}}{{range $k, $v := .metadata.labels}}{{$k}}={{$v}},{{end}}{{"\t"}}
{{- if .metadata.deletionTimestamp}}leaving{{else}}-{{end}}{{"\t"}}{{$place}}{{"\n"}}
{{- range .status.initContainerStatuses}}container{{"\t"}}{{$pod}}{{"\t"}}{{template "container" .}}{{end}}
{{- range .status.containerStatuses}}container{{"\t"}}{{$pod}}{{"\t"}}{{template "container" .}}{{end}}
{{- range .spec.containers}}{{$name := .name}}{{with .resources}}{{with .limits}}{{with .memory -}}
limit{{"\t"}}{{$pod}}{{"\t"}}{{$name}}{{"\t"}}{{.}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}
{{- range .spec.volumes}}{{with .persistentVolumeClaim -}}
claim{{"\t"}}{{$pod}}{{"\t"}}{{.claimName}}{{"\n"}}{{end}}{{end}}'

# shellcheck disable=SC2016
OF_SLICE='{{$of := "-"}}{{range $k, $v := .metadata.labels}}
{{- if eq $k "kubernetes.io/service-name"}}{{$of = $v}}{{end}}{{end}}
{{- range .endpoints}}{{$ready := true}}{{range $k, $v := .conditions}}
{{- if and (eq $k "ready") (not $v)}}{{$ready = false}}{{end}}{{end}}
{{- if $ready}}{{$of}}{{"\n"}}{{end}}{{end}}'

OF_CLAIM='{{.metadata.name}}{{"\t"}}{{.status.phase}}{{"\t"}}{{or .spec.storageClassName "-"}}{{"\n"}}'

# Of HorizontalPodAutoscalers, ScaledObjects and QueueAutoscalers alike.
# shellcheck disable=SC2016
OF_AUTOSCALER='{{$kind := .kind}}{{$name := .metadata.name}}{{$by := "-"}}
{{- range .metadata.ownerReferences}}{{$by = .kind}}{{end}}
{{- $current := "-"}}{{$desired := "-"}}{{with .status}}
{{- range $k, $v := .}}{{if eq $k "currentReplicas"}}{{$current = $v}}{{end}}
{{- if eq $k "desiredReplicas"}}{{$desired = $v}}{{end}}{{end}}{{end -}}
scales{{"\t"}}{{$kind}}{{"\t"}}{{$name}}{{"\t"}}
{{- with .spec.scaleTargetRef}}{{or .kind "Deployment"}}{{"\t"}}{{.name}}{{end}}{{"\t"}}
{{- if .spec.dryRun}}watches{{else}}acts{{end}}{{"\t"}}{{$by}}{{"\t"}}{{$current}}{{"\t"}}{{$desired}}{{"\n"}}
{{- range .status.conditions}}condition{{"\t"}}{{$kind}}{{"\t"}}{{$name}}{{"\t"}}{{.type}}{{"\t"}}{{.status}}{{"\t"}}
{{- if .reason}}{{.reason}}{{else}}-{{end}}{{"\t"}}{{printf "%.400q" (or .message "")}}{{"\n"}}{{end}}'

# Into $WORK/$1; false, with a line, where the cluster does not say.
table() {
    local file=$1 what_they_are=$2 template=$3
    shift 3
    if ! k get "$@" -o "go-template=$template" >"$WORK/$file" 2>"$WORK/error"; then
        fail "$what_they_are cannot be looked at: $(first_line "$WORK/error")"
        return 1
    fi
}

unquoted() { sed 's/^"//;s/"$//;s/\\"/"/g;s/\\n/ /g' <<<"$1"; }

# --- checks -----------------------------------------------------------------------------------------------------------

check_namespace() {
    heading "Namespace"
    local name phase
    while read -r name; do
        if ! phase=$(k get namespace "$name" --ignore-not-found -o "go-template=$(each '{{.status.phase}}')" \
            2>"$WORK/error"); then
            warn "namespace $name may not be looked at: $(first_line "$WORK/error")"
        elif [[ -z $phase ]]; then
            fail "there is no namespace $name: deploy/deploy.sh $what"
        elif [[ $phase != Active ]]; then
            fail "namespace $name is $phase"
        else
            pass "namespace $name"
        fi
    done < <(facts object | awk -F '\t' '$3 != "-" { print $3 }' | sort -u)
}

# Everything that was applied, but Jobs: those go when their time is over.
check_objects() {
    heading "Objects"
    awk -F '\t' '$5 == "object" && $2 != "Job" { print $1 }' "$WORK/facts" | while read -r number; do
        cat "$WORK/objects/$number.yaml"
        echo "---"
    done >"$WORK/wanted.yaml"
    local name='{{.kind}}{{"\t"}}{{or .metadata.namespace "-"}}{{"\t"}}{{.metadata.name}}{{"\n"}}'
    # What is there is printed, even where a kind is not.
    k get -f "$WORK/wanted.yaml" --ignore-not-found -o "go-template=$(each "$name")" >"$WORK/there" 2>"$WORK/error" || {
        fail "not everything can be looked at: $(first_line "$WORK/error")"
        [[ -s $WORK/there ]] || return 0
    }
    local kind place object missing=0 count=0
    while IFS=$'\t' read -r kind place object; do
        count=$((count + 1))
        # kustomize gives a namespace to kinds that it does not know; the cluster knows better.
        grep -qxF -e "$kind"$'\t'"$place"$'\t'"$object" -e "$kind"$'\t-\t'"$object" "$WORK/there" && continue
        missing=$((missing + 1))
        fail "there is no $kind $place/$object"
    done < <(facts object | awk -F '\t' -v OFS='\t' '$2 != "Job" { print $2, $3, $4 }')
    ((missing)) || pass "$count of $count objects are there"
    check_jobs
}

check_jobs() {
    local place name state
    while IFS=$'\t' read -r _ _ place name _; do
        state=$(k get job "$name" -n "$place" --ignore-not-found -o "go-template=$(
            each '{{range .status.conditions}}{{if eq .status "True"}}{{.type}} {{end}}{{end}}.'
        )" 2>/dev/null) || continue
        case $state in
            *Failed*) fail "Job $place/$name has failed: kubectl -n $place logs -l job-name=$name --all-containers" ;;
            *Complete*) pass "Job $place/$name is complete" ;;
            .*) warn "Job $place/$name is running" ;;
            *) note "Job $place/$name is gone, as finished Jobs go" ;;
        esac
    done < <(facts object | awk -F '\t' '$2 == "Job"')
}

is_scaled() {
    facts target | awk -F '\t' -v kind="$1" -v name="$2" '$5 == kind && $6 == name { found = 1 } END { exit !found }'
}

# How many replicas a workload should have, of the last table of workloads.
wanted_replicas() {
    awk -F '\t' -v kind="$1" -v name="$2" '$1 == kind && $2 == name { print $5 }' "$WORK/workloads"
}

check_workloads() {
    heading "Workloads"
    table workloads "workloads" "$(each "$OF_WORKLOAD")" deployments,statefulsets,daemonsets -n "$home" || return 0
    local kind name generation observed want ready updated trouble
    while IFS=$'\t' read -r _ kind _ name _; do
        IFS=$'\t' read -r _ _ generation observed want ready updated trouble < <(
            awk -F '\t' -v kind="$kind" -v name="$name" '$1 == kind && $2 == name' "$WORK/workloads"
            echo
        ) || true
        if [[ -z $want ]]; then
            fail "there is no $kind $name"
        elif [[ -n $trouble ]]; then
            fail "$kind $name: $ready of $want ready; $trouble"
        elif ((observed < generation)); then
            warn "$kind $name: its last change has not been taken up yet"
        elif ((want == 0)); then
            if is_scaled "$kind" "$name"; then
                pass "$kind $name: at zero, where its autoscaler has it"
            else
                warn "$kind $name: at zero, and nothing scales it"
            fi
        elif ((ready < want)); then
            # One that is being scaled up is not broken.
            if is_scaled "$kind" "$name" && ((ready > 0)); then
                warn "$kind $name: $ready of $want ready"
            else
                fail "$kind $name: $ready of $want ready"
            fi
        elif ((updated < want)); then
            warn "$kind $name: $ready of $want ready, $updated of them new: a rollout is under way"
        else
            pass "$kind $name: $ready of $want ready"
        fi
    done < <(workloads)
}

# Names of the pods of a workload by its selector, those on their way out left out.
pods_of() {
    local selector=$1 pod labels leaving
    while IFS=$'\t' read -r _ pod _ _ labels leaving _; do
        [[ $leaving == - ]] || continue
        if selects "$selector" "$labels"; then echo "$pod"; fi
    done < <(grep $'^pod\t' "$WORK/pods")
}

# Whether an RFC 3339 time is within --since.
is_fresh() {
    local moment
    moment=$(date -d "$1" +%s 2>/dev/null) || return 1
    (($(date +%s) - moment <= since_seconds))
}

check_pods() {
    heading "Pods"
    table pods "pods" "$OF_CONTAINER$(each "$OF_POD")" pods -n "$home" || {
        : >"$WORK/pods"
        return 0
    }
    local number kind name pod before count
    while IFS=$'\t' read -r number kind _ name _; do
        before=$((warned + failed)) count=0
        while read -r pod; do
            count=$((count + 1))
            check_pod "$pod"
        done < <(pods_of "$(fact_of "$number" match)")
        if ((count == 0)); then
            [[ $(wanted_replicas "$kind" "$name") == 0 ]] || warn "$kind $name has no pods"
        elif ((warned + failed == before)); then
            pass "$kind $name: $count pods, none restarting"
        fi
    done < <(workloads)
}

check_pod() {
    local pod=$1 phase ready unscheduled
    IFS=$'\t' read -r _ _ phase ready _ _ unscheduled < <(
        awk -F '\t' -v pod="$pod" '$1 == "pod" && $2 == pod' "$WORK/pods"
    )
    if [[ $unscheduled != - ]]; then
        fail "pod $pod is not scheduled: $(unquoted "$unscheduled")"
        return
    fi
    if [[ $phase == Failed ]]; then
        warn "pod $pod has failed and was left behind"
        return
    fi
    local container restarts waiting message reason finished told=no
    while IFS=$'\t' read -r _ _ container restarts waiting message reason finished; do
        case $waiting in
            - | ContainerCreating | PodInitializing) ;;
            *)
                told=yes
                if [[ $reason != - ]]; then restarts+=" restarts, last $reason"; else restarts+=" restarts"; fi
                fail "pod $pod, container $container: $waiting, $restarts; $(unquoted "$message")"
                continue
                ;;
        esac
        if ((restarts > max_restarts)); then
            told=yes
            if is_fresh "$finished"; then
                fail "pod $pod, container $container: $restarts restarts, the last at $finished ($reason)"
            else
                warn "pod $pod, container $container: $restarts restarts, none within $since (last $reason)"
            fi
        elif [[ $reason == OOMKilled ]]; then
            told=yes
            warn "pod $pod, container $container: was killed at its memory limit, at $finished"
        fi
    done < <(awk -F '\t' -v pod="$pod" '$1 == "container" && $2 == pod' "$WORK/pods")
    if [[ $told == no && $ready != True ]]; then warn "pod $pod is $phase and not ready"; fi
}

check_services() {
    heading "Services"
    table endpoints "EndpointSlices" "$(each "$OF_SLICE")" endpointslices -n "$home" || return 0
    local number name type selector count behind kind workload awake
    while IFS=$'\t' read -r number _ _ name _; do
        type=$(fact_of "$number" type) selector=$(fact_of "$number" select)
        [[ $type != ExternalName && $selector != - ]] || continue
        count=$(grep -cxF "$name" "$WORK/endpoints" || true)
        if [[ $type == LoadBalancer ]]; then check_address "$name"; fi
        if ((count)); then
            pass "Service $name: $count endpoints"
            continue
        fi
        behind=$(behind_service "$selector")
        if [[ -z $behind ]]; then
            fail "Service $name has no endpoints: no workload here has its labels"
            continue
        fi
        awake=''
        while read -r kind workload; do
            [[ $(wanted_replicas "$kind" "$workload") == 0 ]] || awake+="${awake:+, }$kind $workload"
        done <<<"$behind"
        if [[ -z $awake ]]; then
            pass "Service $name: no endpoints, as ${behind//$'\n'/, } is at zero"
        else
            fail "Service $name has no endpoints: $awake has no ready pod"
        fi
    done < <(facts object | awk -F '\t' -v home="$home" '$2 == "Service" && $3 == home')
}

check_address() {
    local address
    # shellcheck disable=SC2016
    address=$(k get service "$1" -n "$home" --ignore-not-found -o "go-template=$(
        each '{{with .status.loadBalancer}}{{range .ingress}}{{or .ip .hostname}} {{end}}{{end}}'
    )" 2>/dev/null) || return 0
    if [[ -n $address ]]; then
        pass "Service $1: its load balancer is ${address% }"
    else
        warn "Service $1 has no address of a load balancer yet"
    fi
}

# Kind and name of each workload that a selector selects.
behind_service() {
    local number kind name
    while IFS=$'\t' read -r number kind _ name _; do
        if selects "$1" "$(fact_of "$number" podlabels)"; then echo "$kind $name"; fi
    done < <(workloads)
}

# Claims of the overlay, and those that StatefulSets make for their replicas.
wanted_claims() {
    facts object | awk -F '\t' -v home="$home" '$2 == "PersistentVolumeClaim" && $3 == home { print $4 }'
    local number name template replicas ordinal
    while IFS=$'\t' read -r number _ _ name template _; do
        replicas=$(wanted_replicas StatefulSet "$name")
        for ((ordinal = 0; ordinal < ${replicas:-1}; ordinal++)); do
            echo "$template-$name-$ordinal"
        done
    done < <(facts template)
}

check_claims() {
    heading "Storage"
    table claims "PersistentVolumeClaims" "$(each "$OF_CLAIM")" persistentvolumeclaims -n "$home" || return 0
    local name phase class mode any=no
    while read -r name; do
        any=yes
        IFS=$'\t' read -r _ phase class < <(awk -F '\t' -v name="$name" '$1 == name' "$WORK/claims" && echo) || true
        case $phase in
            Bound) pass "PersistentVolumeClaim $name is Bound" ;;
            '') fail "there is no PersistentVolumeClaim $name" ;;
            *)
                # A class may bind only once a pod is there: a claim of a CronJob waits for its first run.
                mode=
                [[ $class == - ]] || mode=$(k get storageclass "$class" --ignore-not-found \
                    -o "go-template=$(each '{{.volumeBindingMode}}')" 2>/dev/null) || mode=
                if [[ $mode == WaitForFirstConsumer ]] && ! grep -q $'^claim\t.*\t'"$name\$" "$WORK/pods"; then
                    warn "PersistentVolumeClaim $name is $phase: it is bound once a pod uses it"
                else
                    fail "PersistentVolumeClaim $name is $phase (storage class $class):" \
                        "kubectl -n $home describe pvc $name"
                fi
                ;;
        esac
    done < <(wanted_claims)
    [[ $any == yes ]] || note "none"
}

# --- health endpoints -------------------------------------------------------------------------------------------------

# Asks, by the API server and then by a port-forward. Sets `answer` and `way`; 0 is a good answer, 1 is a bad one, and 2
# is none.
ask() {
    local scheme=$1 object=$2 port=$3 path=$4 headers=$5 forward_to=$6 forward_port=$7 prefix='' code=0
    [[ $scheme != HTTPS ]] || prefix=https:
    way="by the API server"
    if k get --raw "/api/v1/namespaces/$home/${object%/*}/$prefix${object#*/}:$port/proxy$path" --request-timeout=5s \
        >"$WORK/answer" 2>"$WORK/error"; then
        answer=$(cut -c 1-120 "$WORK/answer" | head -n 1 | tr -d '\r')
        return 0
    fi
    answer=$(first_line "$WORK/error")
    # /dev/tcp speaks no TLS.
    [[ $scheme == HTTP ]] || return 2
    by_forward "$forward_to" "$forward_port" "$path" "$headers" || code=$?
    return "$code"
}

# A request through a port-forward, written by hand: no program is needed for it, here or in the pod.
by_forward() {
    local target=$1 port=$2 path=$3 headers=$4 forward until=$((SECONDS + 10)) local_port='' line status code=2
    : >"$WORK/forward"
    # Not by k: that would be a shell to be ended, whose kubectl goes on.
    kubectl ${KUBE[@]+"${KUBE[@]}"} port-forward "$target" ":$port" -n "$home" >"$WORK/forward" 2>"$WORK/error" &
    forward=$!
    while ((SECONDS < until)) && kill -0 "$forward" 2>/dev/null; do
        local_port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$WORK/forward" | head -n 1)
        [[ -z $local_port ]] || break
        sleep 0.1
    done
    if [[ -n $local_port ]]; then
        way="by a port-forward"
        [[ $headers == *[Hh]ost:* ]] || headers+="Host: localhost"$'\r'
        {
            printf 'GET %s HTTP/1.0\r\n' "$path"
            tr '\r' '\n' <<<"$headers" | while read -r line; do [[ -z $line ]] || printf '%s\r\n' "$line"; done
            printf '\r\n'
        } >"$WORK/request"
        # A shell of its own, so that whoever does not answer can be given up.
        # shellcheck disable=SC2016
        timeout 10 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat "$2" >&3 && cat <&3' \
            - "$local_port" "$WORK/request" >"$WORK/answer" 2>/dev/null || true
        status=$(sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$WORK/answer")
        if [[ -z $status ]]; then
            answer="no answer within 10 s"
        else
            answer="$status $(sed '1,/^\r*$/d' "$WORK/answer" | head -n 1 | cut -c 1-120 | tr -d '\r')"
            code=1
            if ((status >= 200 && status < 400)); then code=0; fi
        fi
    fi
    kill "$forward" 2>/dev/null || true
    wait "$forward" 2>/dev/null || true
    return "$code"
}

# One line for one question.
asked() {
    local whose=$1 path=$2 code=0
    shift 2
    ask "$@" || code=$?
    case $code in
        0) pass "$whose $path: ${answer:-answers} ($way)" ;;
        1) fail "$whose $path: $answer ($way)" ;;
        *) fail "$whose $path cannot be asked: $answer" ;;
    esac
}

# The number of a container's port, which a probe may name.
port_number() {
    if [[ $2 =~ ^[0-9]+$ ]]; then
        echo "$2"
    else
        facts port | awk -F '\t' -v number="$1" -v name="$2" '$1 == number && $5 == name && !found++ { print $6 }'
    fi
}

# The Service, and its port, that lead to a workload's port; nothing where none does.
service_to() {
    local labels=$1 port=$2 port_number=$3 number name selector found
    while IFS=$'\t' read -r number _ _ name selector _; do
        selects "$selector" "$labels" || continue
        found=$(facts serviceport | awk -F '\t' -v number="$number" -v port="$port" -v by_number="$port_number" '
            $1 == number && ($7 == port || $7 == by_number) && !found++ { print $6 }')
        if [[ -n $found ]]; then
            echo "$name $found"
            return
        fi
    done < <(facts select)
}

check_health() {
    heading "Health endpoints"
    local number kind name scheme port path headers pod through target object object_port any=no
    while IFS=$'\t' read -r number kind _ name _; do
        [[ -n $(fact_of "$number" probe) ]] || continue
        any=yes
        pod=$(ready_pod "$number")
        if [[ -z $pod ]]; then
            note "$kind $name has no ready pod to be asked"
            continue
        fi
        while IFS=$'\t' read -r scheme port path headers; do
            target=$(port_number "$number" "$port")
            # Through the Service where one leads there: then that is tried as well.
            through=$(service_to "$(fact_of "$number" podlabels)" "$port" "$target")
            object=pods/$pod object_port=$target
            if [[ -n $through ]]; then object=services/${through% *} object_port=${through#* }; fi
            asked "$kind $name" "$path" "$scheme" "$object" "$object_port" "$path" "$headers" "pod/$pod" "$target"
        done < <(facts probe | awk -F '\t' -v OFS='\t' -v number="$number" '
            $1 == number && !seen[$6, $7]++ { print $5, $6, $7, $8 }')
    done < <(workloads)
    local one service
    if [[ $what == tidegate ]]; then
        health+=("tidegate-http:8080/readyz?verbose" "tidegate-http:8080/api/v1/autoscalers")
    fi
    for one in ${health[@]+"${health[@]}"}; do
        any=yes
        service=${one%%:*} path=/${one#*/} port=${one#*:}
        port=${port%%/*}
        asked "Service $service" "$path" HTTP "services/$service" "$port" "$path" "" "service/$service" "$port"
    done
    [[ $any == yes ]] || note "no workload has one"
}

ready_pod() {
    local pod
    while read -r pod; do
        if grep -q $'^pod\t'"$pod"$'\t[^\t]*\tTrue\t' "$WORK/pods"; then
            echo "$pod"
            return
        fi
    done < <(pods_of "$(fact_of "$1" match)")
}

# --- usage and logs ---------------------------------------------------------------------------------------------------

check_usage() {
    heading "Resources"
    if ! k top pods --containers --no-headers -n "$home" >"$WORK/top" 2>"$WORK/error"; then
        warn "usage is not known: $(first_line "$WORK/error")"
        return
    fi
    local near
    near=$(awk -v pods="$WORK/pods" '
        BEGIN { while ((getline < pods) > 0) if ($1 == "limit") limit[$2, $3] = $4 }
        function bytes(text, number) {
            number = text + 0
            if (text ~ /Ki$/) return number * 1024
            if (text ~ /Mi$/) return number * 1048576
            if (text ~ /Gi$/) return number * 1073741824
            if (text ~ /Ti$/) return number * 1099511627776
            if (text ~ /k$/) return number * 1e3
            if (text ~ /M$/) return number * 1e6
            if (text ~ /G$/) return number * 1e9
            return number
        }
        ($1, $2) in limit && bytes($4) > 0.9 * bytes(limit[$1, $2]) {
            printf "pod %s, container %s: %s of the %s of memory that it may have\n", $1, $2, $4, limit[$1, $2]
        }' "$WORK/top")
    if [[ -z $near ]]; then
        pass "$(wc -l <"$WORK/top" | tr -d ' ') containers, none above 90 % of its memory limit"
        return
    fi
    local line
    while read -r line; do warn "$line"; done <<<"$near"
}

check_logs() {
    heading "Logs of the last $since"
    local number kind name count
    while IFS=$'\t' read -r number kind _ name _; do
        if ! k logs -n "$home" -l "$(fact_of "$number" match)" --all-containers --since="$since" --tail=-1 --prefix \
            --ignore-errors --max-log-requests=100 >"$WORK/logs" 2>"$WORK/error"; then
            warn "$kind $name: logs cannot be read: $(first_line "$WORK/error")"
            continue
        fi
        # Without pods there is nothing to be read, and nothing is said of it.
        if [[ ! -s $WORK/logs && -z $(pods_of "$(fact_of "$number" match)") ]]; then
            note "$kind $name has no pods whose logs could be read"
            continue
        fi
        # What kubectl could not read it says among the lines, and only its own words have no pod in front.
        if grep '^error: ' "$WORK/logs" >"$WORK/error"; then
            warn "$kind $name: logs cannot be read: $(first_line "$WORK/error")"
            sed -i '/^error: /d' "$WORK/logs"
            [[ -s $WORK/logs ]] || continue
        fi
        grep -E -e "$log_pattern" "$WORK/logs" >"$WORK/errors" || true
        count=$(wc -l <"$WORK/errors" | tr -d ' ')
        if ((count == 0)); then
            pass "$kind $name: no errors in $(wc -l <"$WORK/logs" | tr -d ' ') lines"
        else
            warn "$kind $name: $count lines of errors, the last of them:"
            tail -n 3 "$WORK/errors" | cut -c 1-240 | quote
        fi
    done < <(workloads)
}

# --- autoscaling ------------------------------------------------------------------------------------------------------

# All autoscalers of the namespace into $WORK/scalers. A kind that the cluster does not know has no objects.
read_autoscalers() {
    local kind
    : >"$WORK/scalers"
    for kind in horizontalpodautoscalers.autoscaling scaledobjects.keda.sh queueautoscalers.tidegate.dev; do
        if k get "$kind" -n "$home" -o "go-template=$(each "$OF_AUTOSCALER")" >"$WORK/some" 2>"$WORK/error"; then
            cat "$WORK/some" >>"$WORK/scalers"
        elif ! grep -q "doesn't have a resource type" "$WORK/error"; then
            fail "$kind cannot be looked at: $(first_line "$WORK/error")"
        fi
    done
}

# Status, reason and message of a condition.
condition() {
    awk -F '\t' -v OFS='\t' -v kind="$1" -v name="$2" -v type="$3" '
        $1 == "condition" && $2 == kind && $3 == name && $4 == type { print $5, $6, $7; exit }' "$WORK/scalers"
}

# Sets status, reason and message.
read_condition() {
    IFS=$'\t' read -r status reason message < <(condition "$@" && echo) || true
    message=$(unquoted "${message:-}")
}

check_autoscaling() {
    heading "Autoscaling"
    read_autoscalers
    local kind name hpa any=no
    while IFS=$'\t' read -r _ kind _ name _; do
        any=yes
        if ! grep -q $'^scales\t'"$kind"$'\t'"$name"$'\t' "$WORK/scalers"; then
            fail "there is no $kind $name"
            continue
        fi
        case $kind in
            HorizontalPodAutoscaler) check_hpa "$name" ;;
            QueueAutoscaler | ScaledObject) check_scaler "$kind" "$name" ;;
        esac
    done < <(facts target)
    # KEDA makes one for each ScaledObject, and it has its own troubles.
    while IFS=$'\t' read -r _ _ _ name hpa _; do
        grep -q $'^scales\tHorizontalPodAutoscaler\t'"$hpa"$'\t' "$WORK/scalers" || continue
        check_hpa "$hpa"
    done < <(facts hpa)
    check_owners
    [[ $any == yes ]] || note "nothing is scaled here"
}

# "at 3 of the 5 it wants".
replicas_of() {
    awk -F '\t' -v kind="$1" -v name="$2" '
        $1 == "scales" && $2 == kind && $3 == name && $8 != "-" { printf "; CURRENT %s, DESIRED %s", $8, $9 }
    ' "$WORK/scalers"
}

check_scaler() {
    local kind=$1 name=$2 status reason message words other
    read_condition "$kind" "$name" Ready
    if [[ -z $status ]]; then
        local who=tidegate
        [[ $kind == QueueAutoscaler ]] || who=KEDA
        fail "$kind $name says nothing of itself: does $who run?"
        return
    fi
    if [[ $status != True ]]; then
        fail "$kind $name: Ready is $status, $reason: $message"
        return
    fi
    words="Ready ($reason)"
    read_condition "$kind" "$name" Active
    [[ -z $status ]] || words+=", Active $status ($reason)"
    pass "$kind $name: $words$(replicas_of "$kind" "$name")"
    for other in Fallback Paused ScalingLimited; do
        read_condition "$kind" "$name" "$other"
        if [[ $status == True ]]; then warn "$kind $name: $other ($reason): $message"; fi
    done
}

check_hpa() {
    local name=$1 status reason message
    local kind=HorizontalPodAutoscaler
    read_condition "$kind" "$name" AbleToScale
    if [[ $status == False ]]; then
        fail "$kind $name: AbleToScale is False, $reason: $message"
        return
    fi
    read_condition "$kind" "$name" ScalingActive
    if [[ -z $status ]]; then
        warn "$kind $name says nothing of itself yet"
    elif [[ $status != True && $reason == ScalingDisabled ]]; then
        # At zero an HPA rests; who woke it up is KEDA.
        pass "$kind $name: rests, as its workload is at zero"
    elif [[ $status != True ]]; then
        fail "$kind $name: ScalingActive is $status, $reason: $message"
    else
        pass "$kind $name: ScalingActive ($reason)$(replicas_of "$kind" "$name")"
        read_condition "$kind" "$name" ScalingLimited
        if [[ $status == True && $reason == TooManyReplicas ]]; then warn "$kind $name: at its maximum"; fi
    fi
}

# Two that scale one workload fight. An HPA that a ScaledObject made is the ScaledObject's, and who only watches owns
# nothing.
check_owners() {
    local target owners
    while IFS=$'\t' read -r target owners; do
        fail "$target has two owners: $owners; delete one of them"
    done < <(awk -F '\t' -v OFS='\t' '
        $1 == "scales" && $6 == "acts" && !($2 == "HorizontalPodAutoscaler" && $7 == "ScaledObject") {
            target = $4 " " $5
            owners[target] = owners[target] (count[target]++ ? " and " : "") $2 " " $3
        }
        END { for (target in owners) if (count[target] > 1) print target, owners[target] }' "$WORK/scalers" | sort)
}

# --- tidegate's own ---------------------------------------------------------------------------------------------------

check_lease() {
    [[ $what == tidegate ]] || return 0
    heading "Lease"
    local found holder renewed lasts age
    if ! found=$(k get lease tidegate -n "$home" --ignore-not-found -o "go-template=$(
        each '{{or .spec.holderIdentity "-"}} {{or .spec.renewTime "-"}} {{or .spec.leaseDurationSeconds 15}}'
    )" 2>"$WORK/error"); then
        fail "Lease tidegate cannot be looked at: $(first_line "$WORK/error")"
        return
    fi
    read -r holder renewed lasts <<<"$found"
    if [[ -z $found ]]; then
        fail "there is no Lease tidegate: no replica has ever led"
    elif [[ $holder == - ]]; then
        fail "Lease tidegate has no holder: nobody scales"
    elif ! age=$(date -d "$renewed" +%s 2>/dev/null); then
        fail "Lease tidegate of $holder was renewed at $renewed, which is no time"
    elif age=$(($(date +%s) - age)) && ((age > lasts)); then
        fail "Lease tidegate of $holder was renewed $age s ago, and lasts $lasts s: nobody scales"
    else
        pass "Lease tidegate: $holder leads, renewed $((age < 0 ? 0 : age)) s ago"
    fi
}

# --- all of it --------------------------------------------------------------------------------------------------------

# What would be looked at.
say() {
    heading "What would be checked of $what, overlay $overlay, in namespace $home"
    local number kind name path line
    note "namespace, and the $(facts object | awk -F '\t' '$2 != "Job"' | wc -l | tr -d ' ') objects of the overlay"
    while IFS=$'\t' read -r number kind _ name _; do
        note "$kind $name: ready, pods not restarting (above $max_restarts), logs since $since"
        facts probe | awk -F '\t' -v number="$number" '$1 == number { print $7 }' | sort -u | while read -r path; do
            note "$kind $name: $path"
        done
    done < <(workloads)
    facts object | awk -F '\t' '$2 == "Service" { print "Service " $4 ": endpoints" }' |
        while read -r line; do note "$line"; done
    : >"$WORK/workloads"
    wanted_claims | while read -r line; do note "PersistentVolumeClaim $line: Bound"; done
    facts target | awk -F '\t' '{ print $2 " " $4 ": conditions, and no second owner of " $5 " " $6 }' |
        while read -r line; do note "$line"; done
    for line in ${health[@]+"${health[@]}"}; do note "Service ${line%%:*}: /${line#*/}"; done
    note "usage against memory limits"
    if [[ $what == tidegate ]]; then
        note "Service tidegate-http: /readyz?verbose, /api/v1/autoscalers"
        note "Lease tidegate: held, and renewed"
    fi
}

main() {
    parse "$@"
    make_work
    heading "Tools"
    check_tools || exit 1
    find_folder "$what" "$overlay"
    render "$namespace" || exit 1
    home=$(main_namespace)
    if [[ $dry_run == yes ]]; then
        say
        return
    fi
    if ! check_cluster; then
        fail "no cluster answers: $(first_line "$WORK/error")"
        exit 1
    fi
    check_namespace
    check_objects
    check_workloads
    check_pods
    check_services
    check_claims
    check_health
    check_usage
    check_logs
    check_autoscaling
    check_lease
    heading "Summary"
    local colour=$green words="$what runs"
    if ((failed)); then colour=$red words="$what does not run as it should"; fi
    printf '  %s%d passed, %d warnings, %d failed: %s%s\n' "$colour" "$passed" "$warned" "$failed" "$words" "$plain"
    ((failed == 0))
}

main "$@"
