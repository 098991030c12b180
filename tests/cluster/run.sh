#!/usr/bin/env bash
# Starts a real control plane (etcd, kube-apiserver, kube-controller-manager) on free loopback ports and holds on to it:
#
#   run.sh DIR          serves commands on stdin, answers each with one line, and stops everything when stdin closes,
#                       whatever became of the process that held it
#   run.sh --stay DIR   stays until SIGINT or SIGTERM (a cluster to look around in; DIR/supervisor.pid is its process)
#
# DIR gets kubeconfig, etcd.url, pki/, etcd/ (the data), log/*.log and log/audit.jsonl. The first line on stdout is
# "ready <seconds>", or "failed <why>".
# Commands: "stop NAME", "start NAME" (etcd, apiserver, controller-manager), "kill NAME", "freeze NAME", "thaw NAME",
#           "save PATH" and "load PATH" (etcd's data; etcd must be stopped), "quit".
# CONTROL_PLANE is the folder of the programs (default: what build.sh prints); API_FLAGS are added to the API server's;
# FSYNC=1 makes etcd durable (tests do without); KEEP=1 keeps DIR at the end.
# NODE=1 also starts a node, on which pods run (containerd, dns, scheduler, kubelet, proxy): only in apart.sh, which takes all of it away.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stay=; [ "${1:-}" = --stay ] && { stay=1; shift; }
dir=$(realpath -m "${1:?a folder for the data}")
bin=${CONTROL_PLANE:-$("$here/build.sh")} || { echo "failed the control plane does not build"; exit 1; }
api_address=(--bind-address 127.0.0.1 --endpoint-reconciler-type none)
if [ -n "${NODE:-}" ]; then
  [ -n "${APART:-}" ] || { echo "failed a node runs only in tests/cluster/apart.sh"; exit 1; }
  node=$("$here/node/build.sh") || { echo "failed the node does not build"; exit 1; }
  # shellcheck source=tests/cluster/node/parts.sh
  . "$here/node/parts.sh"
fi
mkdir -p "$dir/pki" "$dir/log"; cd "$dir" || exit 1
echo $$ >supervisor.pid
declare -A pid=()
fail() { echo "failed $* (logs in $dir/log)"; KEEP=1; finish 1; }

# --- children -----------------------------------------------------------------------------------------
# Each runs in a session of its own (a Ctrl-C is for us, not for them), and dies with this script even if that is killed.
launch() { # launch NAME CMD...
  local name=$1 leash=(); shift
  command -v setpriv >/dev/null && leash=(setpriv --pdeathsig KILL)
  setsid "${leash[@]}" "$@" >>"log/$name.log" 2>&1 </dev/null &
  pid[$name]=$!
}
alive() { [ -n "${pid[$1]:-}" ] && kill -0 "${pid[$1]}" 2>/dev/null; }
halt() { # halt NAME [SIGNAL]: ask, wait at most 3 s (an API server waits for every watch), then kill
  alive "$1" || return 0
  kill "-${2:-TERM}" "${pid[$1]}" 2>/dev/null; kill -CONT "${pid[$1]}" 2>/dev/null
  for _ in $(seq 60); do alive "$1" || break; sleep 0.05; done
  kill -KILL "${pid[$1]}" 2>/dev/null; wait "${pid[$1]}" 2>/dev/null; unset "pid[$1]"
}
finish() { # at the end data does not matter, so nobody is asked twice
  trap '' INT TERM HUP
  for name in "${!pid[@]}"; do kill -KILL "${pid[$name]}" 2>/dev/null; done
  wait 2>/dev/null
  cd / || exit 1
  [ -n "${KEEP:-}" ] || rm -rf "$dir"
  exit "${1:-0}"
}
trap 'finish 0' TERM HUP
if [ -n "$stay" ]; then trap 'finish 0' INT; else trap '' INT; fi # with a holder, the closed stdin says when

# --- ports, keys, kubeconfig --------------------------------------------------------------------------
free_port() { # below the ephemeral range, so that no outgoing connection takes it
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}
keys() {
  local ca=(-CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial)
  new() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "pki/$1.key"; }
  cert() { # cert NAME SUBJECT EXTENSION
    new "$1" && openssl req -new -key "pki/$1.key" -subj "$2" |
      openssl x509 -req -days 365 "${ca[@]}" -out "pki/$1.crt" -extfile <(echo "$3")
  }
  new ca && openssl req -x509 -new -key pki/ca.key -days 365 -subj /CN=rolecall-test-ca -out pki/ca.crt &&
    cert apiserver /CN=kube-apiserver "subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:10.85.0.1" &&
    cert admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth &&
    new sa && openssl pkey -in pki/sa.key -pubout -out pki/sa.pub
}
write_kubeconfig() {
  cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://127.0.0.1:$api", certificate-authority-data: $(base64 -w0 pki/ca.crt)}}]
users: [{name: admin, user: {client-certificate-data: $(base64 -w0 pki/admin.crt), client-key-data: $(base64 -w0 pki/admin.key)}}]
contexts: [{name: local, context: {cluster: local, user: admin}}]
current-context: local
YAML
}
# Writes only: who wrote what, when. Tests read it.
audit_policy() {
  cat <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}
- {level: None}
YAML
}

# --- the programs -------------------------------------------------------------------------------------
start() { # start NAME: launch it and wait until it answers
  case $1 in
  etcd)
    local sync=(--unsafe-no-fsync); [ -n "${FSYNC:-}" ] && sync=()
    launch etcd "$bin/etcd" --data-dir etcd --log-level warn "${sync[@]}" --quota-backend-bytes 4294967296 \
      --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
      --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
      --initial-cluster "default=http://127.0.0.1:$peer"
    until_ok etcd bash -c "exec 3<>/dev/tcp/127.0.0.1/$client" ;;
  apiserver)
    # shellcheck disable=SC2086 # several flags in one variable
    launch apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$client" --secure-port "$api" \
      "${api_address[@]}" --shutdown-delay-duration 0s \
      --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key --client-ca-file pki/ca.crt \
      --service-account-key-file pki/sa.pub --service-account-signing-key-file pki/sa.key \
      --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range 10.96.0.0/16 \
      --authorization-mode Node,RBAC --max-requests-inflight 4000 --max-mutating-requests-inflight 2000 \
      --audit-policy-file audit-policy.yaml --audit-log-path log/audit.jsonl --audit-log-mode blocking ${API_FLAGS:-}
    until_ok apiserver "$bin/kubectl" --kubeconfig kubeconfig get --raw /readyz ;;
  controller-manager)
    launch controller-manager "$bin/kube-controller-manager" --kubeconfig kubeconfig --leader-elect=false \
      --secure-port 0 --use-service-account-credentials --kube-api-qps 400 --kube-api-burst 800 \
      --service-account-private-key-file pki/sa.key --root-ca-file pki/ca.crt
    until_ok controller-manager "$bin/kubectl" --kubeconfig kubeconfig get serviceaccount default ;;
  *) [ -n "${NODE:-}" ] && node_start "$1" ;;
  esac
}
until_ok() { # until_ok NAME CMD...: for at most 60 s, and no longer than the process lives
  local name=$1 end=$((SECONDS + 60)); shift
  while [ "$SECONDS" -lt "$end" ]; do
    "$@" >/dev/null 2>&1 && return 0
    alive "$name" || return 1
    sleep 0.1
  done
  return 1
}

begun=$(date +%s.%N)
command -v openssl >/dev/null || fail "openssl is needed (apt-get install openssl)"
keys >log/keys.log 2>&1 || fail "no keys: $(tail -1 log/keys.log)"
audit_policy >audit-policy.yaml
[ -z "${NODE:-}" ] || node_configure 2>log/node.log || fail "no network for pods: $(tail -1 log/node.log)"
for attempt in 1 2 3; do # another process may take a port between the look and the use
  client=$(free_port); peer=$(free_port); api=$(free_port)
  write_kubeconfig >kubeconfig
  echo "http://127.0.0.1:$client" >etcd.url
  start etcd && start apiserver && break
  halt apiserver KILL; halt etcd KILL; rm -rf etcd
  [ "$attempt" = 3 ] && fail "$(grep -hE '"level":"(fatal|panic)"|^[EF][0-9]{4}|^Error' log/etcd.log log/apiserver.log | tail -1)"
done
start controller-manager || fail "$(tail -1 log/controller-manager.log)"
if [ -n "${NODE:-}" ]; then
  for name in "${node_parts[@]}"; do start "$name" || fail "$name: $(tail -1 "log/$name.log")"; done
fi
echo "ready $(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $begun }")"

if [ -n "$stay" ]; then
  wait "${pid[apiserver]}"
  fail "the API server ended"
fi
while read -r command name; do
  case $command in
  start) start "$name" && echo ok || echo "failed $(tail -1 "log/$name.log")" ;;
  stop) halt "$name" && echo ok ;;
  kill) halt "$name" KILL && echo ok ;;
  freeze) kill -STOP "${pid[$name]}" && echo ok || echo "failed $name does not run" ;;
  thaw) kill -CONT "${pid[$name]}" && echo ok || echo "failed $name does not run" ;;
  save) { ! alive etcd && rm -rf "$name" && cp -a etcd "$name" && echo ok; } || echo "failed to save $name" ;;
  load) { ! alive etcd && rm -rf etcd && cp -a "$name" etcd && echo ok; } || echo "failed to load $name" ;;
  quit) break ;;
  *) echo "failed no such command: $command" ;;
  esac
done
finish 0
