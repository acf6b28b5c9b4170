#!/usr/bin/env bash
# Watching, counting and flushing connections while traffic flows through them.
#
# Usage: scripts/netns/events.sh
#
# SECONDS_OF_LOAD=N makes the load longer (default 12 s).
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

load=${SECONDS_OF_LOAD:-12}
KEPT=${IPERF_PORTS[0]} CUT=${IPERF_PORTS[1]}

# watch FILE QUERY: a stream of events into a file, once the gateway has begun it; sets SPAWNED.
watch() {
  local before
  before=$(metric turnpike_event_watchers)
  spawn "$GATEWAY" "$1" curl -sS --no-buffer --unix-socket "$SOCKET" \
    "http://localhost/v1/events?$2"
  wait_for 5 watched_by "$((before + 1))" || fail "no stream of events began"
}

watched_by() { (($(metric turnpike_event_watchers) == $1)); }

# told FILE FILTER: how many events in the file match the jq filter.
told() { jq -c "select($2)" "$1" | wc -l; }

has_told() { (($(told "$1" "$2") > 0)); }

# count FILTER...: how many connections the gateway counts.
count() { turnpike connections count "$@"; }

# listed FILTER...: how many connections the gateway lists.
listed() { turnpike connections --json "$@" | jq '.connections | length'; }

# has_load PORT: the iperf3 client to this port runs, and both its connections are there.
has_load() { (($(count --dst-port "$1" --connection-state established) == 2)); }

rig_needs
rig_trap
rig_up events
# Without loose tracking a packet of a flushed connection opens no new one.
tracking='connection-tracking: { loose-tcp-tracking: no, tcp-time-wait-timeout: 2s }'
gateway_config "/^routes:/i $tracking\n"
gateway_start
servers_start 5

step "Two loads"
for port in "$KEPT" "$CUT"; do
  iperf_to "$RIG_DIR/load-$port.json" "$SERVER4" --port "$port" --bitrate 50M --time "$load" &
  loads+=("$!")
  wait_for 5 has_load "$port" || fail "the load to port $port did not begin"
done
ok "iperf3 runs to ports $KEPT and $CUT"

step "Somebody watches one connection, and somebody all that end"
drops >"$RIG_DIR/drops-before"
watch "$RIG_DIR/http-events" "dst-port=$HTTP_PORT"
http_watcher=$SPAWNED
watch "$RIG_DIR/end-events" "event=destroy"
http_ok "$SERVER4"
events=$RIG_DIR/http-events
wait_for 10 has_told "$events" '.event == "destroy"' ||
  fail "no event tells of the end: $(<"$events")"
for wanted in \
  '.event == "new" and .state == "syn-sent" and (.flags | contains("s"))' \
  '.event == "update" and .state == "established" and (.flags | contains("SA"))' \
  '.event == "update" and (.flags | contains("F"))' \
  '.event == "destroy" and .cause == "expired" and .repl.bytes > 5000000'; do
  at_least "events with $wanted" "$(told "$events" "$wanted")" 1
done
to_http="(.\"dst-address\" | endswith(\":$HTTP_PORT\"))"
equal "events of other connections" "$(told "$events" "$to_http | not")" 0
equal "connections told as new" "$(told "$events" '.event == "new"')" 1
ok "$(jq -r '.event + " " + .state' "$events" | uniq | paste -sd , | sed 's/,/, /g')"

step "Counting agrees with listing"
for filter in "--dst-port $KEPT" "--protocol tcp --flags SA" "--any-address $NAT4" \
  "--state time-wait"; do
  # shellcheck disable=SC2086 # words of the filter
  equal "connections with $filter" "$(count $filter)" "$(listed $filter)"
done
drops >"$RIG_DIR/drops-after"
equal "drops while it was watched, counted and listed" \
  "$(new_drops "$RIG_DIR/drops-before" "$RIG_DIR/drops-after")" ""
ok "and not one packet was dropped for it"

step "Flushing cuts what it names and nothing else"
equal "flushed to port $CUT" "$(turnpike connections flush --dst-port "$CUT")" "2 connections ended"
ends='.cause == "flushed"'
wait_for 5 has_told "$RIG_DIR/end-events" "$ends" || fail "no event tells of the flush"
equal "events of flushed connections" "$(told "$RIG_DIR/end-events" "$ends")" 2
equal "of these to port $CUT" \
  "$(told "$RIG_DIR/end-events" "$ends and (.\"dst-address\" | endswith(\":$CUT\"))")" 2
sleep 1
equal "connections to port $CUT a second later" "$(count --dst-port "$CUT")" 0
equal "connections to port $KEPT" "$(count --dst-port "$KEPT")" 2
if turnpike connections flush >/dev/null 2>&1; then fail "a flush without a filter was taken"; fi
wait "${loads[0]}" || fail "the load to port $KEPT: $(tail -n 5 "$RIG_DIR/load-$KEPT.json")"
iperf_judge "to port $KEPT, through it all" "$RIG_DIR/load-$KEPT.json"
kill "${loads[1]}" 2>/dev/null || true
equal "packets dropped for another reason than the rules' refusal" \
  "$(drops | new_drops "$RIG_DIR/drops-after" /dev/stdin | grep -v '^filter-rule ' || true)" ""
ok "the packets of the cut load were invalid and refused by rule"

step "Who goes is forgotten, and the gateway ends the streams that are left"
kill "$http_watcher"
wait_for 5 watched_by 1 || fail "a watcher that went is still counted"
ender=$SPAWNED
at_least "events told" "$(wc -l <"$RIG_DIR/end-events")" 3
equal "events lost" "$(metric turnpike_events_lost_total)" 0
step "Books"
books_balance
gateway_stop
wait_for 5 gone "$ender" || fail "the stream outlived the gateway"
tail -c 1 "$RIG_DIR/end-events" | cmp -s - <(printf '\n') || fail "the last event is cut"
if grep -q curl: "$RIG_DIR/end-events"; then fail "$(grep curl: "$RIG_DIR/end-events")"; fi
ok "the stream ended whole with the gateway"
