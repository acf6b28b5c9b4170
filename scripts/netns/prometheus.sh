#!/usr/bin/env bash
# Debian's Prometheus scrapes the gateway for a minute, and promtool has no complaint.
#
# Usage: scripts/netns/prometheus.sh
#
# Uses the installed prometheus; where there is none, Debian's package is unpacked under target/,
# so that no service is started on this machine.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

API=http://127.0.0.1:9090/api/v1

# prometheus_here: sets PROMETHEUS and PROMTOOL.
prometheus_here() {
  PROMETHEUS=$(command -v prometheus) && PROMTOOL=$(command -v promtool) && return
  local tools=${CARGO_TARGET_DIR:-$ROOT/target}/tools/prometheus
  if [[ ! -x $tools/usr/bin/promtool ]]; then
    rm -rf "$tools"
    mkdir -p "$tools"
    say "unpacking Debian's prometheus package under ${tools#"$ROOT"/}"
    (cd "$tools" && as_root apt-get -q update && apt-get -q download prometheus &&
      dpkg-deb -x prometheus_*.deb .) >"$RIG_DIR/apt.log" 2>&1 ||
      skip "Debian's prometheus package cannot be fetched: $(tail -n 1 "$RIG_DIR/apt.log")"
  fi
  PROMETHEUS=$tools/usr/bin/prometheus PROMTOOL=$tools/usr/bin/promtool
}

# query EXPRESSION: the one value of an instant query.
query() {
  in_ns "$GATEWAY" curl -sS --fail --get --data-urlencode "query=$1" "$API/query" |
    jq -r '.data.result[0].value[1] // "none"'
}

ready() { in_ns "$GATEWAY" curl -s --fail --output /dev/null http://127.0.0.1:9090/-/ready; }

rig_needs
rig_trap
rig_up prometheus
prometheus_here
gateway_config
gateway_start
servers_start 20

step "promtool check metrics"
http_ok "$SERVER4"
in_ns "$GATEWAY" curl -sS --fail http://127.0.0.1:9477/metrics >"$RIG_DIR/metrics"
"$PROMTOOL" check metrics <"$RIG_DIR/metrics" >"$RIG_DIR/promtool.log" 2>&1 ||
  fail "promtool: $(cat "$RIG_DIR/promtool.log")"
equal "complaints of promtool" "$(cat "$RIG_DIR/promtool.log")" ''
ok "promtool has no complaint about $(grep -vc '^#' "$RIG_DIR/metrics") samples"

step "Prometheus scrapes for a minute"
cat >"$RIG_DIR/prometheus.yml" <<END
global: { scrape_interval: 5s }
scrape_configs:
  - job_name: turnpike
    static_configs: [ { targets: [ "127.0.0.1:9477" ] } ]
END
spawn "$GATEWAY" "$RIG_DIR/prometheus.log" "$PROMETHEUS" --config.file="$RIG_DIR/prometheus.yml" \
  --storage.tsdb.path="$RIG_DIR/tsdb" --web.listen-address=127.0.0.1:9090 --log.level=warn
wait_for 20 ready || fail "Prometheus did not start: $(tail -n 3 "$RIG_DIR/prometheus.log")"
for ((minute = 10; minute <= 60; minute += 10)); do
  http_ok "$SERVER4"
  sleep 10
  say "$minute of 60 s: up is $(query up)"
done
equal "up, at its lowest in the minute" "$(query 'min_over_time(up[1m])')" 1
at_least "scrapes that succeeded in the minute" "$(query 'count_over_time(up[1m])')" 10
at_least "samples of the smallest scrape" "$(query 'min_over_time(scrape_samples_scraped[1m])')" 50
equal "last error of the target" "$(in_ns "$GATEWAY" curl -sS "$API/targets" |
  jq -r '.data.activeTargets[0].lastError')" ''
at_least "packets counted within the minute, by Prometheus" \
  "$(query 'floor(sum(increase(turnpike_interface_receive_packets_total[50s])))')" 100
complaints=$(grep -cE 'level=(warn|error)' "$RIG_DIR/prometheus.log") || true
equal "complaints in Prometheus's log" "$complaints" 0
ok "twelve scrapes, no error"
gateway_stop
