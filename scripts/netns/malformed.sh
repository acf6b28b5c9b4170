#!/usr/bin/env bash
# A flood of malformed frames: each counted under its reason, none answered, traffic goes on.
#
# Usage: scripts/netns/malformed.sh
#
# FLOOD=N sends every malformed frame N times (default 500). The frames and the reason expected
# for each are in scripts/lib/frames.py.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

rig_needs
rig_trap
rig_up malformed
gateway_config
gateway_start
servers_start 5
http_ok "$SERVER4"
http_ok "$SERVER6"

step "The flood, with a download running through it"
mac=$(ip -n "$GATEWAY" -json link show tp-lan | jq -r '.[0].address')
drops >"$RIG_DIR/before"
in_ns "$CLIENT" python3 "$ROOT/scripts/lib/frames.py" lan0 "$mac" "${FLOOD:-500}" >"$RIG_DIR/sent"
http_ok "$SERVER4"
http_ok "$SERVER6"
sleep 1
drops >"$RIG_DIR/after"
# The client's own multicast listener reports end as no-listener, now or then.
new_drops "$RIG_DIR/before" "$RIG_DIR/after" |
  { grep -v '^no-listener ' || true; } >"$RIG_DIR/rose"

step "Each frame under its reason, and nothing else dropped"
if ! diff <(sort "$RIG_DIR/sent") <(sort "$RIG_DIR/rose") >"$RIG_DIR/diff"; then
  fail "sent (<) and counted (>) differ: $(cat "$RIG_DIR/diff")"
fi
indent <"$RIG_DIR/rose"
ok "every malformed frame was counted under its reason"

step "Random bytes behind a true Ethernet header"
in_ns "$CLIENT" python3 "$ROOT/scripts/lib/frames.py" lan0 "$mac" 20000 --random 1 >/dev/null
http_ok "$SERVER4"
ping_ok "$SERVER6" 3

step "Books"
books_balance
gateway_stop
