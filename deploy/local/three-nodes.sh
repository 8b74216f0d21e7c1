#!/usr/bin/env bash
# A whole cluster on this machine: three coordinators and two agents, a sweep, and the leader killed in the middle of it.
#
#   deploy/local/three-nodes.sh          builds heats where it is not on the PATH, runs, cleans up
#   TLS=1 deploy/local/three-nodes.sh    the same over TLS: certificates, and agents that join by a token
#   KEEP=1 deploy/local/three-nodes.sh   leaves the cluster running, and says how to reach it
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
heats=${HEATS_BIN:-$(command -v heats || true)}
if [ -z "$heats" ]; then
  cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p heats
  heats=$root/target/release/heats
fi

folder=$(mktemp -d)
declare -A pids=()
# Settings of the caller's are for another cluster.
unset "${!HEATS_@}"

stop() {
  kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT

coordinator() { # NUMBER
  local security=()
  if [ -n "${TLS:-}" ]; then security=(--tls "$folder/tls/coordinator-$1"); fi
  "$heats" coordinator start --id "$1" --listen "127.0.0.1:771$1" --data "$folder/coordinator-$1" "${security[@]}" \
    2>>"$folder/coordinator-$1.log" &
  pids[coordinator-$1]=$!
}

agent() { # NUMBER
  local join=
  if [ -n "${TLS:-}" ]; then join=$("$heats" token create --role agent --quiet); fi
  HEATS_JOIN=$join "$heats" agent start --name "worker-$1" --cpus 2 --data "$folder/agent-$1" 2>>"$folder/agent-$1.log" &
  pids[agent-$1]=$!
}

until_it_works() { # COMMAND...
  for _ in $(seq 100); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  "$@"
}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

if [ -n "${TLS:-}" ]; then
  say "Certificates"
  hosts=127.0.0.1,localhost
  "$heats" tls init --out "$folder/tls" --coordinator "1=$hosts" --coordinator "2=$hosts" --coordinator "3=$hosts" --quiet
  ls "$folder/tls"
  export HEATS_CA=$folder/tls/admin/ca.pem HEATS_CERT=$folder/tls/admin/cert.pem HEATS_KEY=$folder/tls/admin/key.pem
fi

say "Three coordinators"
for number in 1 2 3; do coordinator "$number"; done
export HEATS_ADDRESS=127.0.0.1:7711,127.0.0.1:7712,127.0.0.1:7713
for number in 1 2 3; do until_it_works "$heats" cluster members --address "127.0.0.1:771$number"; done
"$heats" cluster init 127.0.0.1:7711 127.0.0.1:7712 127.0.0.1:7713 --quiet
until_it_works "$heats" cluster status
"$heats" cluster status

say "Two agents, and a sweep of 60 trials"
for number in 1 2; do agent "$number"; done
"$heats" submit "$root/examples/quadratic/sweep.yaml" --set budget.trials=60 --quiet

over() { "$heats" ls -o value:done | head -n 1; }
until [ "$(over)" -ge 15 ]; do sleep 0.2; done

leader=$("$heats" cluster status -o json | python3 -c '
import json, sys
print(next(member["node"] for member in json.load(sys.stdin)["members"] if member["role"] == "leader"))')
say "kill -9 of coordinator $leader, which leads, after $(over) trials"
kill -9 "${pids[coordinator-$leader]}"
wait "${pids[coordinator-$leader]}" 2>/dev/null || true
"$heats" watch last --quiet >/dev/null
"$heats" cluster status

say "It comes back"
coordinator "$leader"
until_it_works "$heats" cluster members --address "127.0.0.1:771$leader"
until [ "$("$heats" cluster status -o value:state | grep -c up)" = 3 ]; do sleep 0.2; done
"$heats" cluster status

say "The sweep ended with exactly its trials"
"$heats" ls
"$heats" best last -n 3

if [ -n "${KEEP:-}" ]; then
  trap - EXIT
  say "Still running; everything is in $folder"
  echo "export HEATS_ADDRESS=$HEATS_ADDRESS${TLS:+ HEATS_CA=$HEATS_CA HEATS_CERT=$HEATS_CERT HEATS_KEY=$HEATS_KEY}"
  echo "kill ${pids[*]} && rm -rf $folder    # stops it"
fi
