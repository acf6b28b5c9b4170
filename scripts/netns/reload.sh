#!/usr/bin/env bash
# Reloads: many of them under load, by SIGHUP too; a bad file or a start-only key changes nothing.
#
# Usage: scripts/netns/reload.sh
#
# RELOADS=N sets how many reloads run under load (default 12).
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

# reload_refused WHAT WANTED: the reload of $CONFIG ends with 1, says WANTED, and changes nothing.
reload_refused() {
  local code=0 out=$RIG_DIR/refused.log before
  before=$(metric turnpike_config_generation)
  turnpike reload >"$out" 2>&1 || code=$?
  equal "$1: exit code" "$code" 1
  grep -qE "$2" "$out" || fail "$1: wanted '$2' in: $(cat "$out")"
  equal "$1: generation" "$(metric turnpike_config_generation)" "$before"
  http_ok "$SERVER4"
  ok "$1: $(grep -E -m 1 "$2" "$out")"
}

generation_above() { (($(metric turnpike_config_generation) > $1)); }

rig_needs
rig_trap
rig_up reload
gateway_config
cp "$CONFIG" "$RIG_DIR/good.yaml"
gateway_start
servers_start 100
reload_under_load "${RELOADS:-12}"

step "SIGHUP reloads too"
cp "$RIG_DIR/good.yaml" "$CONFIG"
generation=$(metric turnpike_config_generation)
kill -HUP "$GATEWAY_PID"
wait_for 5 generation_above "$generation" || fail "SIGHUP did not reload"
ok "generation $(metric turnpike_config_generation)"

step "Files that must be refused, whole"
line=$(($(wc -l <"$RIG_DIR/good.yaml") + 1))
{ cat "$RIG_DIR/good.yaml" && printf 'no-such-section: {}\n'; } >"$CONFIG"
reload_refused "an unknown key" "gateway\.yaml:$line:1: error: .*no-such-section"
sed -E '/^  filter:/a\    - { chain: forward, src-address: 300.1.2.3, action: drop }' \
  "$RIG_DIR/good.yaml" >"$CONFIG"
reload_refused "an address that is none" "gateway\.yaml:[0-9]+:[0-9]+: error: .*300\.1\.2\.3"
sed -E '/^  filter:/a\    - { chain: forward, src-address: !10.0.0.0/8, action: drop }' \
  "$RIG_DIR/good.yaml" >"$CONFIG"
reload_refused "an unquoted !" "gateway\.yaml:[0-9]+:[0-9]+: error: .*quote"
sed -E 's/workers: *\[[^]]*\]/workers: [0, 0]/' "$RIG_DIR/good.yaml" >"$CONFIG"
reload_refused "the same core twice" "gateway\.yaml:[0-9]+:[0-9]+: error: "
sed -E 's/iface=tp-wan/iface=tp-other/' "$RIG_DIR/good.yaml" >"$CONFIG"
reload_refused "another device" "device"
cp "$RIG_DIR/good.yaml" "$CONFIG"

step "Books"
books_balance
gateway_stop
