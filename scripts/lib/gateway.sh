# shellcheck shell=bash
# The gateway under test: its configuration, its start and stop, and what it says about itself.
# Sourced after ui.sh and netns.sh; ROOT is the repository. The binary is $TURNPIKE, or the release
# build of this tree.

TURNPIKE=${TURNPIKE:-${CARGO_TARGET_DIR:-$ROOT/target}/release/turnpike}

# Drops that mean "the lab machine was too slow just now"; any other reason is a finding.
CONGESTION='^(tx-queue-full|handover-ring-full|slow-path-ring-full|return-ring-full)$'

# gateway_config [SED_EXPRESSION...]: writes $CONFIG, configs/quickstart.yaml with its socket in
# $RIG_DIR and the given edits. An expression that changes nothing is a mistake here.
gateway_config() {
  CONFIG=$RIG_DIR/gateway.yaml SOCKET=$RIG_DIR/api.sock
  cp "$ROOT/configs/quickstart.yaml" "$CONFIG"
  local expression
  for expression in "s#socket: *[^ ,}]+#socket: $SOCKET#" "$@"; do
    cp "$CONFIG" "$CONFIG.before"
    sed -E -i "$expression" "$CONFIG"
    cmp -s "$CONFIG" "$CONFIG.before" && fail "configs/quickstart.yaml has nothing for: $expression"
  done
  rm -f "$CONFIG.before"
}

# workers_edit N: the edit that gives the gateway cores 0 to N-1 as its workers.
workers_edit() {
  local list
  list=$(seq -s ', ' 0 $(($1 - 1)))
  printf 's/workers: *\\[[^]]*\\]/workers: [%s]/' "$list"
}

# gateway_start: starts the gateway and waits until it answers; sets GATEWAY_PID.
gateway_start() {
  [[ -x $TURNPIKE ]] || fail "no $TURNPIKE: cargo build --release -p turnpike-mgmt --bin turnpike"
  spawn "$GATEWAY" "$RIG_DIR/gateway.log" "$TURNPIKE" run --config "$CONFIG"
  GATEWAY_PID=$SPAWNED
  wait_for 30 gateway_answers || fail "the gateway did not become ready in 30 s"
}

gateway_answers() {
  ours "$GATEWAY_PID" || fail "the gateway ended before it was ready"
  turnpike status >/dev/null 2>&1
}

# gateway_stop: asks the gateway to stop and fails unless it does so cleanly.
gateway_stop() {
  local code=0
  kill -TERM "$GATEWAY_PID"
  wait_for 15 gone "$GATEWAY_PID" || fail "the gateway did not stop within 15 s of SIGTERM"
  wait "$GATEWAY_PID" || code=$?
  equal "exit code of the gateway after SIGTERM" "$code" 0
}

# turnpike COMMAND...: a client command to the gateway under test.
turnpike() { timeout 20 "$TURNPIKE" "$@" --socket "$SOCKET"; }

# api PATH: the management API's answer.
api() { curl -sS --fail --max-time 10 --unix-socket "$SOCKET" "http://localhost$1"; }

# metric NAME [LABELS]: the sum of the samples of a metric, of those whose labels hold the regex.
metric() {
  api /metrics | awk -v name="$1" -v labels="${2:-}" '
    /^#/ { next }
    { at = match($0, /[{ ]/); family = substr($0, 1, at - 1) }
    family == name && (labels == "" || $0 ~ labels) { sum += $NF }
    END { printf "%.0f\n", sum }'
}

# drops: the gateway's drop counters that are not zero, `reason count` per line.
drops() {
  api /metrics |
    sed -nE 's/^turnpike_dropped_packets_total\{.*reason="([^"]+)".*\} ([0-9]+).*/\1 \2/p' |
    awk '{ sum[$1] += $2 } END { for (reason in sum) if (sum[reason]) print reason, sum[reason] }' |
    sort
}

# dropped REASON: how many packets were dropped for that reason.
dropped() { metric turnpike_dropped_packets_total "reason=\"$1\""; }

# new_drops BEFORE AFTER: what rose between two outputs of `drops`, congestion left out.
new_drops() {
  awk -v congestion="$CONGESTION" '
    FILENAME == ARGV[1] { before[$1] = $2; next }
    $2 > before[$1] && $1 !~ congestion { print $1, $2 - before[$1] }' "$1" "$2"
}

# connections: the live connections as JSON, one object per line.
connections() { turnpike connections --json | jq -c '.connections[]'; }

# rule_packets ACTION: the packets that rules with this action have matched.
rule_packets() {
  turnpike rules --json |
    jq --arg action "$1" '[.rules[] | select(.action == $action).packets] | add // 0'
}
