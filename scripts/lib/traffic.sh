# shellcheck shell=bash
# Real clients and servers on the rig: ping, HTTP by curl, iperf3.
# Sourced after ui.sh, netns.sh and gateway.sh.

HTTP_PORT=8000 IPERF_PORTS=(5201 5202)

# servers_start MEGABYTES: HTTP with one file of random bytes, and two iperf3 servers.
servers_start() {
  mkdir "$RIG_DIR/www"
  head -c "$(($1 * 1000000))" /dev/urandom >"$RIG_DIR/www/file"
  FILE_SUM=$(sum_of <"$RIG_DIR/www/file")
  spawn "$SERVER" "$RIG_DIR/http.log" \
    python3 -u -m http.server --bind :: --directory "$RIG_DIR/www" "$HTTP_PORT"
  local port
  for port in "${IPERF_PORTS[@]}"; do
    spawn "$SERVER" "$RIG_DIR/iperf3-$port.log" iperf3 --server --port "$port" --forceflush
  done
  wait_for 10 listening "$HTTP_PORT" || fail "the HTTP server did not start"
  for port in "${IPERF_PORTS[@]}"; do
    wait_for 10 listening "$port" || fail "the iperf3 server did not start"
  done
}

listening() { in_ns "$SERVER" ss -Hltn "sport = :$1" | grep -q .; }

sum_of() { sha256sum | cut -d ' ' -f 1; }

# ping_ok ADDRESS COUNT [PING_ARGUMENTS...]: every echo is answered.
ping_ok() {
  local address=$1 count=$2 out took
  shift 2
  out=$(in_ns "$CLIENT" ping -n -q -c "$count" -i 0.2 -W 2 "$@" "$address" 2>&1) ||
    fail "ping ${*:+$* }$address: $(tail -n 3 <<<"$out")"
  grep -q " 0% packet loss" <<<"$out" || fail "ping ${*:+$* }$address lost packets: $out"
  took=$(sed -nE 's#^rtt .* = [^/]*/([^/]*)/.*#\1#p' <<<"$out")
  ok "ping ${*:+$* }$address: $count of $count, $took ms on average"
}

# host_of ADDRESS: the address as a URL writes it.
host_of() { if [[ $1 == *:* ]]; then printf '[%s]' "$1"; else printf '%s' "$1"; fi; }

# http_ok ADDRESS: the file arrives whole.
http_ok() {
  local url got
  url=http://$(host_of "$1"):$HTTP_PORT/file
  got=$(in_ns "$CLIENT" curl -sS --fail --max-time 60 "$url" | sum_of) || fail "curl $url"
  equal "checksum of $url" "$got" "$FILE_SUM"
  ok "curl $url: sha256 ${got:0:16}… is the server's"
}

# iperf LABEL ADDRESS ARGUMENTS...: one iperf3 run that must succeed and move data on each stream.
iperf() {
  local label=$1 address=$2 out
  shift 2
  out=$RIG_DIR/iperf3-client.json
  iperf_to "$out" "$address" "$@" || true
  iperf_judge "$label" "$out"
}

# iperf_to FILE ADDRESS ARGUMENTS...: runs the client with its JSON report to FILE.
iperf_to() {
  local out=$1 address=$2
  shift 2
  in_ns "$CLIENT" timeout 900 iperf3 --json --connect-timeout 5000 --client "$address" "$@" \
    >"$out" 2>&1
}

# iperf_judge LABEL FILE: fails on an error, and on a stream that moved nothing at the end, which is
# the last four seconds: a stream that backs off on a crowded link may well pause for one.
iperf_judge() {
  local label=$1 out=$2 line
  line=$(jq -r '.error // empty' "$out" 2>/dev/null) || fail "iperf3 $label: $(head -c 300 "$out")"
  [[ -z $line ]] || fail "iperf3 $label: $line"
  jq -e '[.intervals[-4:][].streams[]] | group_by(.socket)
    | length > 0 and all(.[]; (map(.bytes) | add) > 0)' "$out" >/dev/null ||
    fail "iperf3 $label: a stream moved nothing at the end"
  line=$(jq -r '"\((.end.sum_received // .end.sum).bits_per_second / 1e7 | floor / 100) Gbit/s, " +
    "\(.start.test_start.num_streams) stream(s), " +
    (if .end.sum.lost_percent then "\(.end.sum.lost_percent | round) % lost"
     else "\(.end.sum_sent.retransmits) retransmits" end)' "$out")
  ok "iperf3 $label: $line"
}

# seen_by_servers: the addresses that the HTTP and iperf3 servers saw as their clients.
seen_by_servers() {
  sed -nE -e 's/^([0-9a-f.:]+) - - \[.*/\1/p' \
    -e 's/^Accepted connection from ([0-9a-f.:]+), port .*/\1/p' "$RIG_DIR"/http.log \
    "$RIG_DIR"/iperf3-52*.log | sed 's/^::ffff://' | sort -u
}
