#!/usr/bin/env bash
# What the gateway says about a path: time exceeded, packet too big, unreachable; both families.
#
# Usage: scripts/netns/path.sh
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

WAN_MTU=1400

# told WHAT WANTED PING_ARGUMENTS...: the ping fails, and the sender was told why.
told() {
  local what=$1 wanted=$2 out
  shift 2
  out=$(in_ns "$CLIENT" ping -n -c 2 -i 0.3 -W 2 "$@" 2>&1) && fail "$what: ping $* got through"
  grep -qE "$wanted" <<<"$out" || fail "$what: wanted '$wanted' in: $out"
  ok "$what: $(grep -oE -m 1 "$wanted" <<<"$out")"
}

rig_needs
rig_trap
rig_up path
gateway_config "/iface=tp-wan/a\    mtu: $WAN_MTU"
gateway_start
servers_start 5

step "A hop limit that runs out at the gateway"
told "IPv4, TTL 1" "From $LAN_GATEWAY4.*Time to live exceeded" -t 1 "$SERVER4"
told "IPv6, hop limit 1" "From $LAN_GATEWAY6.*Hop limit" -t 1 "$SERVER6"
at_least "drops counted as ttl-exceeded" "$(dropped ttl-exceeded)" 4

step "A packet larger than the WAN's MTU of $WAN_MTU"
told "IPv4, do not fragment" "mtu ?= ?$WAN_MTU" -M 'do' -s 1440 "$SERVER4"
told "IPv6" "mtu ?= ?$WAN_MTU" -M 'do' -s 1440 "$SERVER6"

step "TCP finds the path's MTU and goes on"
http_ok "$SERVER4"
http_ok "$SERVER6"

step "A host that does not answer on the WAN link"
told "IPv4" "Destination Host Unreachable|100% packet loss" -c 3 203.0.113.77
at_least "drops counted as neighbour-unreachable" "$(dropped neighbour-unreachable)" 1

step "Books"
books_balance
gateway_stop
