#!/usr/bin/env bash
# Starting and stopping: clean ends, a second instance, a crash's leftovers, impossible wishes.
#
# Usage: scripts/netns/restart.sh
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

# refused WHAT WANTED CONFIG: `turnpike run` ends with 1 and one sentence that holds WANTED.
refused() {
  local code=0 out=$RIG_DIR/refused.log
  in_ns "$GATEWAY" timeout 30 "$TURNPIKE" run --config "$3" >"$out" 2>&1 || code=$?
  equal "$1: exit code" "$code" 1
  grep -qiE "$2" "$out" || fail "$1: wanted '$2' in: $(cat "$out")"
  grep -qE 'panicked|RUST_BACKTRACE|EAL: ' "$out" &&
    fail "$1: not one clear sentence: $(cat "$out")"
  ok "$1: $(grep -iE -m 1 "$2" "$out")"
}

# variant NAME SED_EXPRESSION: a configuration of its own socket, with one edit.
variant() {
  sed -E -e "s#$SOCKET#$RIG_DIR/$1.sock#" -e "$2" "$CONFIG" >"$RIG_DIR/$1.yaml"
  printf '%s' "$RIG_DIR/$1.yaml"
}

rig_needs
rig_trap
rig_up restart
gateway_config
gateway_start
servers_start 5

step "A second instance on the same socket"
refused "second instance" "already|in use|running" "$CONFIG"
http_ok "$SERVER4"

step "A clean stop, and a start after it"
gateway_stop
[[ ! -e $SOCKET ]] || fail "the gateway left its socket behind"
gateway_start
http_ok "$SERVER4"

step "A start after a crash: the stale socket is no obstacle"
kill -KILL "$GATEWAY_PID"
{ wait "$GATEWAY_PID" || true; } 2>/dev/null # the shell's own word about the kill
[[ -S $SOCKET ]] || fail "the crash left no socket: this step shows nothing"
gateway_start
http_ok "$SERVER4"
http_ok "$SERVER6"
gateway_stop

step "What cannot be: one clear sentence each"
refused "a device that does not exist" "no-such-device" \
  "$(variant device 's/iface=tp-wan/iface=no-such-device/')"
refused "a core that does not exist" "core.*4095|4095.*core" \
  "$(variant core 's/workers: *\[[^]]*\]/workers: [4095]/')"
refused "a configuration that is not there" "no-such-file.yaml" "$RIG_DIR/no-such-file.yaml"
