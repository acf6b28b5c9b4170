#!/usr/bin/env bash
# What the gateway says about a path, and what it lets others say: time exceeded, packet too big,
# unreachable, fragments; both families.
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

# closed_port ADDRESS: a datagram to a port where nobody listens is refused, and the sender told.
closed_port() {
  local out
  out=$(in_ns "$CLIENT" python3 - "$1" <<'END'
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    s.connect((sys.argv[1], 4242))
    s.send(b"anybody there?")
    try:
        s.recv(100)
    except OSError as error:
        print(type(error).__name__)
END
  )
  equal "a datagram to a closed port of $1" "$out" ConnectionRefusedError
  ok "$1: connection refused"
}

rig_needs
rig_trap
rig_up path
gateway_config "/iface=tp-wan/a\    mtu: $WAN_MTU"
ip -n "$SERVER" link set wan0 mtu "$WAN_MTU"
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
told "IPv4" "From $LAN_GATEWAY4 .*Destination Host Unreachable" -W 6 203.0.113.77
told "IPv6" "From $LAN_GATEWAY6 .*Address unreachable" -W 6 2001:db8:113::77
at_least "drops counted as neighbour-unreachable" "$(dropped neighbour-unreachable)" 2

step "A closed port of the server: its ICMP error finds the client behind the NAT"
closed_port "$SERVER4"
closed_port "$SERVER6"

# The kernel puts IPv4 fragments together before net_af_packet hands them over, and cuts off what
# is longer than the ring's frames of 2 KB: so IPv4 stays below that here, IPv6 goes far beyond.
step "Fragments in both directions"
ping_ok "$SERVER4" 4 -s 1800 -M dont
ping_ok "$SERVER6" 4 -s 1800
ping_ok "$SERVER6" 4 -s 20000
at_least "fragments made by the gateway" "$(account fragments)" 16

step "Books"
books_balance
gateway_stop
