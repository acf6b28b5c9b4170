# shellcheck shell=bash
# Reloading under load: programs are swapped while real streams run, and none of them may notice.
# Sourced after ui.sh, netns.sh, gateway.sh and traffic.sh.

# What each stream of the load sends: a load that a small machine carries without losses of its
# own, so that a stream that stands still, or a drop, is the reload's doing.
STREAM_RATE=15M
# The port that every second program closes, so that each swap changes what the gateway does.
PROBE_PORT=8099

# reload_under_load RELOADS: swaps the program that often under iperf3 (8 streams, both families)
# and a long download, and fails on anything lost.
reload_under_load() {
  local reloads=$1 seconds=$(($1 + 6)) before after generation i
  reload_prepare
  step "Reload under load: $reloads reloads while 8 + 8 iperf3 streams and a download run"
  load_start "$seconds"
  drops >"$RIG_DIR/drops.before"
  load_connections >"$RIG_DIR/connections.before"
  before=$(wc -l <"$RIG_DIR/connections.before")
  at_least "connections under load" "$before" 17
  generation=$(metric turnpike_config_generation)
  for ((i = 1; i <= reloads; i++)); do
    reload_once "$i"
    sleep 0.5
  done
  # Now, not when the load has ended: servers that close while data is under way send resets that
  # are out of the window, and those are invalid in good right.
  drops >"$RIG_DIR/drops.after"
  load_connections >"$RIG_DIR/connections.after"
  after=$(comm -12 "$RIG_DIR/connections.before" "$RIG_DIR/connections.after" | wc -l)
  equal "connections of before that live after $reloads reloads" "$after" "$before"
  at_least "generation" "$(metric turnpike_config_generation)" $((generation + reloads))
  ok "all $before connections were kept through $reloads reloads"
  load_judge
  reload_judge_drops
}

# Two programs: the configuration as it is, and one that closes the probe port. A listener behind
# the port tells them apart.
reload_prepare() {
  cp "$CONFIG" "$RIG_DIR/open.yaml"
  local rule="{ chain: forward, protocol: tcp, dst-port: $PROBE_PORT, action: reject }"
  sed -E "/^  filter:/a\    - $rule" "$CONFIG" >"$RIG_DIR/closed.yaml"
  cmp -s "$RIG_DIR/open.yaml" "$RIG_DIR/closed.yaml" && fail "$CONFIG has no line '  filter:'"
  spawn "$SERVER" "$RIG_DIR/probe.log" \
    python3 -u -m http.server --bind :: --directory "$RIG_DIR/www" "$PROBE_PORT"
  wait_for 10 listening "$PROBE_PORT" || fail "the second HTTP server did not start"
}

# load_start SECONDS: the streams and the download, in the background; returns when they run.
load_start() {
  LOAD_PIDS=()
  load_one "$SERVER4" "${IPERF_PORTS[0]}" "$1"
  load_one "$SERVER6" "${IPERF_PORTS[1]}" "$1"
  local size
  size=$(stat -c %s "$RIG_DIR/www/file")
  in_ns "$CLIENT" curl -sS --fail --max-time 300 --limit-rate "$((size / $1))" \
    --output "$RIG_DIR/download" "http://$SERVER4:$HTTP_PORT/file" 2>"$RIG_DIR/download.log" &
  LOAD_PIDS+=($!)
  sleep 2
}

load_one() {
  iperf_to "$RIG_DIR/load-$2.json" "$1" --port "$2" --parallel 8 --bitrate "$STREAM_RATE" \
    --time "$3" &
  LOAD_PIDS+=($!)
}

# load_connections: the client's ends of the load's TCP connections that the gateway knows, sorted.
load_connections() {
  connections | jq -r --arg ports ":($HTTP_PORT|${IPERF_PORTS[0]}|${IPERF_PORTS[1]})\$" '
    select(.protocol == "tcp" and .state == "established" and (.["dst-address"] | test($ports)))
    | "\(.["src-address"]) \(.["dst-address"]) \(.["reply-dst-address"])"' | sort
}

# reload_once N: odd reloads close the probe port, even ones open it, and both must take effect.
reload_once() {
  local program=open wanted=0 got=0
  if (($1 % 2)); then program=closed; fi
  cp "$RIG_DIR/$program.yaml" "$CONFIG"
  turnpike reload >"$RIG_DIR/reload.log" 2>&1 || fail "reload $1: $(cat "$RIG_DIR/reload.log")"
  in_ns "$CLIENT" curl -s --output /dev/null --connect-timeout 3 \
    "http://$SERVER4:$PROBE_PORT/" || got=1
  if [[ $program == closed ]]; then wanted=1; fi
  equal "curl's outcome (1: no connection) after reload $1, port $program" "$got" "$wanted"
  say "reload $1: port $PROBE_PORT is $program"
}

# load_judge: every stream and the download ended well.
load_judge() {
  local pid
  for pid in "${LOAD_PIDS[@]}"; do wait "$pid" || true; done
  iperf_judge "8 streams through the reloads, IPv4" "$RIG_DIR/load-${IPERF_PORTS[0]}.json"
  iperf_judge "8 streams through the reloads, IPv6" "$RIG_DIR/load-${IPERF_PORTS[1]}.json"
  equal "checksum of the download" "$(sum_of <"$RIG_DIR/download")" "$FILE_SUM"
  ok "the download that ran through the reloads is whole"
}

# reload_judge_drops: besides the probes that were meant to be rejected nothing was dropped.
reload_judge_drops() {
  local rose
  rose=$(new_drops "$RIG_DIR/drops.before" "$RIG_DIR/drops.after" |
    grep -v '^filter-reject ') || true
  [[ -z $rose ]] || fail "packets were dropped while reloading: $rose"
  ok "no packet was dropped by a reload"
}
