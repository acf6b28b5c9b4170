#!/usr/bin/env bash
# Reloads under load: 16 iperf3 streams and 10,000 UDP flows through two workers, and not a packet
# of theirs is lost by a reload. Then sessions that new rules forbid: a rule above the accept for
# established connections ends a live one, a rule below does not, and --cut-refused does.
#
# Usage: scripts/netns/reload-load.sh
#
# How it is known that nothing was lost: the gateway counts every drop by its reason, and none but
# those of an overloaded machine may rise; every datagram of every flow is numbered, and those that
# never came back must not be more than what somebody on the way has counted as dropped; every
# connection of before is there after, with the same translation.
#
# RELOADS=N sets how many reloads run under load (default 100).
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

FLOW_PORT=20000 FLOW_PORTS=100 FLOW_SOURCES=100
STREAMS_RATE=2M
# A session to be ended by a rule above the accept for established ones, one below, one by neither.
ABOVE_PORT=7101 BELOW_PORT=7102 FREE_PORT=7103

# programs_prepare: two configurations that differ and allow the load both.
programs_prepare() {
  reload_prepare
  local rule='{ chain: srcnat, protocol: udp, dst-port: 9, action: accept }'
  sed -E -i "/^  nat:/a\    - $rule" "$RIG_DIR/closed.yaml"
}

# flows_start: the UDP flows, all of them answered once when this returns.
flows_start() {
  spawn "$SERVER" "$RIG_DIR/flows-server.log" \
    python3 "$ROOT/scripts/lib/flows.py" serve "$FLOW_PORT" "$FLOW_PORTS"
  wait_for 10 grep -q ready "$RIG_DIR/flows-server.log" || fail "the UDP server did not start"
  spawn "$CLIENT" "$RIG_DIR/flows.log" python3 "$ROOT/scripts/lib/flows.py" drive \
    "$SERVER4" "$FLOW_PORT" "$FLOW_PORTS" "$FLOW_SOURCES" "$RIG_DIR/flows.stop"
  FLOWS_PID=$SPAWNED
  wait_for 60 grep -q open "$RIG_DIR/flows.log" || fail "not every UDP flow was answered"
}

# load_table: every connection of the load: protocol, its two ends, where its answers go to.
load_table() {
  local ports="^(${IPERF_PORTS[0]}|20[01][0-9][0-9])\$"
  connections | jq -r --arg ports "$ports" '
    select(.["dst-address"] | split(":")[-1] | test($ports))
    | "\(.protocol) \(.["src-address"]) \(.["dst-address"]) \(.["reply-dst-address"])"' | sort
}

# lost_elsewhere: what somebody besides the gateway has counted as dropped so far: full socket
# buffers, full queues of the links, and what devices could not take.
lost_elsewhere() {
  {
    local ns
    for ns in "$CLIENT" "$SERVER"; do
      in_ns "$ns" cat /proc/net/snmp | awk '$1 == "Udp:" && $6 ~ /^[0-9]+$/ { print $6 + $7 }'
    done
    for ns in "${NAMESPACES[@]}"; do
      ip -n "$ns" -j -s link | jq '.[].stats64 | .rx.dropped, .tx.dropped'
    done
    api /v1/status | jq '.interfaces[]["device-errors"] // empty
      | .["rx-missed"], .["rx-no-buffer"], .["tx-errors"]'
  } | awk '{ sum += $1 } END { print sum + 0 }'
}

# lost_to_congestion: what the gateway has dropped because the machine was too slow.
lost_to_congestion() {
  drops | awk -v congestion="$CONGESTION" '$1 ~ congestion { sum += $2 } END { print sum + 0 }'
}

reload_many() {
  local reloads=$1 generation i program
  generation=$(metric turnpike_config_generation)
  for ((i = 1; i <= reloads; i++)); do
    if ((i % 20 == 0 || i == 1)); then
      # It takes effect, each time: a listener behind a port that one of the two closes.
      reload_once "$((i / 20 % 2))"
      continue
    fi
    program=open
    if ((i % 2)); then program=closed; fi
    cp "$RIG_DIR/$program.yaml" "$CONFIG"
    turnpike reload >"$RIG_DIR/reload.log" 2>&1 || fail "reload $i: $(cat "$RIG_DIR/reload.log")"
  done
  equal "generation" "$(metric turnpike_config_generation)" $((generation + reloads))
}

load_through_reloads() {
  local reloads=$1 before lost explained report
  step "16 iperf3 streams and $((FLOW_PORTS * FLOW_SOURCES)) UDP flows"
  flows_start
  # They run until they are ended; what they move is read from the gateway.
  spawn "$CLIENT" "$RIG_DIR/streams.log" iperf3 --client "$SERVER4" --port "${IPERF_PORTS[0]}" \
    --parallel 16 --bitrate "$STREAMS_RATE" --time 0
  STREAMS_PID=$SPAWNED
  wait_for 10 load_stands 16 || fail "the iperf3 streams did not start"
  load_table >"$RIG_DIR/table.before"
  before=$(wc -l <"$RIG_DIR/table.before")
  at_least "connections of the load" "$before" $((FLOW_PORTS * FLOW_SOURCES + 16))
  for worker in 0 1; do
    at_least "connections on worker $worker" \
      "$(metric turnpike_connections "worker=\"$worker\"")" 1
  done
  drops >"$RIG_DIR/drops.before"
  explained=$(($(lost_elsewhere) + $(lost_to_congestion)))

  step "$reloads reloads, each to another program that allows all of it"
  reload_many "$reloads"
  drops >"$RIG_DIR/drops.after"
  load_table >"$RIG_DIR/table.after"
  equal "connections of before that live, translated as before" \
    "$(comm -12 "$RIG_DIR/table.before" "$RIG_DIR/table.after" | wc -l)" "$before"
  ok "all $before connections live and are translated as before"
  reload_judge_drops
  touch "$RIG_DIR/flows.stop"
  wait_for 60 gone "$FLOWS_PID" || fail "the UDP flows did not end"
  report=$(tail -n 1 "$RIG_DIR/flows.log")
  lost=$(jq .lost <<<"$report")
  explained=$(($(lost_elsewhere) + $(lost_to_congestion) - explained))
  at_least "drops that somebody counted, against $lost lost datagrams" "$explained" "$lost"
  ok "$(jq -r '"\(.flows) flows, \(.rounds) rounds, \(.sent) datagrams, \(.lost) lost"' \
    <<<"$report"); $explained drops were counted on the way"
  stream_bytes >"$RIG_DIR/streams.before"
  sleep 2
  stream_bytes >"$RIG_DIR/streams.after"
  equal "iperf3 streams that still move data" \
    "$(join "$RIG_DIR/streams.before" "$RIG_DIR/streams.after" | awk '$3 > $2 + 10000' | wc -l)" 16
  ok "16 iperf3 streams still move data"
  kill "$STREAMS_PID"
  wait_for 10 gone "$STREAMS_PID" || fail "iperf3 did not end"
}

# stream_bytes: the client's end of each iperf3 connection, and how much it has sent.
stream_bytes() {
  connections | jq -r --arg port ":${IPERF_PORTS[0]}" '
    select(.["dst-address"] | endswith($port)) | "\(.["src-address"]) \(.orig.bytes)"' | sort
}

load_stands() {
  (($(connections | jq -c --arg port ":${IPERF_PORTS[0]}" \
    'select(.state == "established" and (.["dst-address"] | endswith($port)))' | wc -l) > $1))
}

# session_hold NAME PORT: a TCP session of that name, open when this returns.
session_hold() {
  mkfifo "$RIG_DIR/$1.pipe"
  spawn "$CLIENT" "$RIG_DIR/$1.log" \
    python3 "$ROOT/scripts/lib/session.py" hold "$SERVER4" "$2" "$RIG_DIR/$1.pipe"
  wait_for 10 grep -q open "$RIG_DIR/$1.log" || fail "the session $1 did not open"
}

# session_says NAME WANTED: the session sends a word, and this is what becomes of it.
session_says() {
  local lines
  lines=$(wc -l <"$RIG_DIR/$1.log")
  echo hello >"$RIG_DIR/$1.pipe"
  wait_for 10 more_lines "$RIG_DIR/$1.log" "$lines" || fail "the session $1 says nothing"
  equal "a word of the session $1" "$(tail -n 1 "$RIG_DIR/$1.log")" "$2"
}

more_lines() { (($(wc -l <"$1") > $2)); }

# sessions_to PORT: how many connections to that port the gateway has.
sessions_to() { turnpike connections count --protocol tcp --dst-port "$1"; }

# foreseen EXPRESSION: something of the dry run's answer.
foreseen() { jq -r "$1" "$RIG_DIR/foreseen.json"; }

sessions_that_rules_forbid() {
  local above="{ chain: forward, protocol: tcp, dst-port: $ABOVE_PORT, action: drop }" line
  local below="{ chain: forward, protocol: tcp, dst-port: $BELOW_PORT, action: drop }"
  step "A rule above the accept for established connections, and one below"
  cp "$RIG_DIR/open.yaml" "$CONFIG"
  turnpike reload >/dev/null
  spawn "$SERVER" "$RIG_DIR/sessions.log" python3 "$ROOT/scripts/lib/session.py" serve \
    "$ABOVE_PORT" "$BELOW_PORT" "$FREE_PORT"
  wait_for 10 grep -q ready "$RIG_DIR/sessions.log" || fail "the session server did not start"
  session_hold above "$ABOVE_PORT"
  session_hold below "$BELOW_PORT"
  session_hold free "$FREE_PORT"
  local name
  for name in above below free; do session_says "$name" answered; done
  sed -E -e "/^  filter:/a\    - $above" -e "/^    - .*comment: \"LAN to WAN\"/i\    - $below" \
    "$RIG_DIR/open.yaml" >"$RIG_DIR/forbidding.yaml"

  turnpike reload --dry-run "$RIG_DIR/forbidding.yaml" --json >"$RIG_DIR/foreseen.json"
  local filter='[.connection["dst-address"] | split(":")[-1]] | join(" ")'
  equal "rules that the dry run sees added" "$(foreseen '.difference.added | length')" 2
  equal "what the dry run says would be cut" \
    "$(foreseen "[.connections.cut.examples[] | $filter] | sort | join(\" \")")" "$ABOVE_PORT"
  equal "what the dry run says would be refused" \
    "$(foreseen "[.connections.refused.examples[] | $filter] | sort | join(\" \")")" \
    "$ABOVE_PORT $BELOW_PORT"
  line=$(grep -n "dst-port: $ABOVE_PORT" "$RIG_DIR/forbidding.yaml" | cut -d : -f 1)
  equal "the rule that the dry run names" \
    "$(foreseen '.connections.cut.examples[0].by | split(":")[-1]')" "$line"
  for name in above below free; do session_says "$name" answered; done
  ok "the dry run names both sessions, and nothing has changed"

  cp "$RIG_DIR/forbidding.yaml" "$CONFIG"
  turnpike reload >/dev/null
  equal "sessions before their next packet" "$(sessions_to "$ABOVE_PORT")" 1
  session_says above silence
  equal "sessions that the rule above forbids" "$(sessions_to "$ABOVE_PORT")" 0
  session_says below answered
  session_says free answered
  ok "the rule above has ended its session at the next packet, the one below has not"

  equal "connections that --cut-refused ends" \
    "$(turnpike reload --cut-refused --json | jq .ended)" 1
  equal "sessions that the rule below forbids" "$(sessions_to "$BELOW_PORT")" 0
  session_says below silence
  session_says free answered
  ok "--cut-refused has ended the session that the rule below forbids, and no other"

  step "A reload that nobody confirms"
  sed -E "/^  filter:/a\    - { chain: forward, action: drop }" "$RIG_DIR/open.yaml" >"$CONFIG"
  turnpike reload --confirm 3s --cut-refused >/dev/null
  session_says free silence
  wait_for 10 rolled_back || fail "the reload was not taken back"
  session_says free answered
  ok "after 3 s all is as it was: the client's own retransmission has brought its session back"
}

rolled_back() { [[ $(turnpike status --json | jq '.reloads["rolled-back"]') == 1 ]]; }

(($(nproc) >= 2)) || skip "two workers need two cores"
rig_needs
rig_trap
rig_up reload-load
gateway_config "$(workers_edit 2)"
printf '\nconnection-tracking: { udp-timeout: 5m, udp-stream-timeout: 5m }\n' >>"$CONFIG"
gateway_start
servers_start 1
programs_prepare
load_through_reloads "${RELOADS:-100}"
sessions_that_rules_forbid

step "Books"
books_balance
gateway_stop
