#!/usr/bin/env bash
# ICMP errors through the translation: traceroute, path MTU discovery, closed ports, from both
# sides, in both families. What an error quotes must be the very packet its receiver sent.
#
# Usage: scripts/netns/icmp.sh
#
# Beyond the rig's server, which is a router here, lies one network more:
#
#   client -- gateway -- router 203.0.113.1 --(MTU 1300)-- far 198.51.100.2, 2001:db8:51::2
#
# The gateway gives every connection another port, so that nothing is right by chance.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

FAR4=198.51.100.2 FAR6=2001:db8:51::2
FAR_MTU=1300
CLOSED_PORT=4242
# Where the router has no way to, and says so.
FORBIDDEN4=198.51.100.66 FORBIDDEN6=2001:db8:51::66

# far_up: the network behind the router. The far end's own MTU is that of Ethernet, so that only
# an error can tell a sender of the narrow link.
far_up() {
  rig_add far
  # shellcheck disable=SC2153 # rig_add has set it
  ip link add far0 netns "$FAR" type veth peer name far1 netns "$SERVER"
  local end
  for end in "$FAR far0" "$SERVER far1"; do
    in_ns "${end% *}" ethtool -K "${end#* }" tx off tso off gso off gro off >/dev/null
    ip -n "${end% *}" link set "${end#* }" up
  done
  address "$FAR" far0 "$FAR4/24" "$FAR6/64"
  address "$SERVER" far1 198.51.100.1/24 2001:db8:51::1/64
  ip -n "$SERVER" link set far1 mtu "$FAR_MTU"
  ip -n "$FAR" route add default via 198.51.100.1
  ip -n "$FAR" route add default via 2001:db8:51::1
  ip -n "$SERVER" route add prohibit "$FORBIDDEN4"
  ip -n "$SERVER" route add prohibit "$FORBIDDEN6"
  # Errors are counted out by the second otherwise, and this script asks for many.
  in_ns "$SERVER" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
  in_ns "$FAR" sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
}

# other_ports_edit PROTOCOL: the edit that puts a masquerade to other ports before the plain one.
other_ports_edit() {
  local rule='{ chain: srcnat, out-interface-list: WAN'
  printf 's/^( +- )\\%s, action: masq/\\1%s, protocol: %s, action: masquerade, %s }\\n&/' \
    "$rule" "$rule" "$1" "to-ports: 41000-48999"
}

# error_is WHAT WANTED PROBE...: an error comes back, quotes the probe truly, and is this one.
error_is() {
  local what=$1 wanted=$2 got
  shift 2
  got=$(in_ns "$CLIENT" python3 "$ROOT/scripts/lib/quotes.py" lan0 "$@" 2>&1) ||
    fail "$what: probe $*: $got"
  equal "$what: the error about $*" "$got" "$wanted"
  ok "$what: $got"
}

# hops WHAT WANTED TRACEROUTE_ARGUMENTS...: the hops that traceroute finds, in order.
hops() {
  local what=$1 wanted=$2 out
  shift 2
  out=$(in_ns "$CLIENT" traceroute -n -q 1 -w 3 -m 5 "$@" 2>&1) || fail "$what: $out"
  equal "$what: the hops" "$(awk 'NR > 1 { printf "%s ", $2 }' <<<"$out")" "$wanted "
  ok "$what: ${wanted// / → }"
}

# learned_mtu ADDRESS: the MTU that the client's kernel keeps for the way to an address.
learned_mtu() {
  in_ns "$CLIENT" ip route get "$1" | sed -nE 's/.*\bmtu ([0-9]+).*/\1/p' | head -n 1
}

# upload ADDRESS: TCP with full segments, which the narrow link does not carry; all of it arrives.
upload() {
  local port=7001 pid got
  spawn "$FAR" "$RIG_DIR/sink.log" python3 -c "
import hashlib, socket, sys
with socket.create_server(('::', $port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print('ready', flush=True)
    peer, _ = server.accept()
    with peer, peer.makefile('rb') as stream:
        print(hashlib.sha256(stream.read()).hexdigest(), flush=True)"
  pid=$SPAWNED
  wait_for 5 grep -q ready "$RIG_DIR/sink.log" || fail "the far end does not listen"
  head -c 500000 /dev/urandom >"$RIG_DIR/upload"
  in_ns "$CLIENT" timeout 30 python3 -c "
import socket, sys
with socket.create_connection(('$1', $port), timeout=20) as out, open('$RIG_DIR/upload', 'rb') as f:
    out.sendfile(f)" || fail "the upload to $1 did not end"
  wait_for 10 gone "$pid" || fail "the far end still waits for the rest of the upload"
  got=$(tail -n 1 "$RIG_DIR/sink.log")
  equal "checksum of the upload to $1" "$got" "$(sum_of <"$RIG_DIR/upload")"
  ok "500 kB to $1 over the narrow link: sha256 ${got:0:16}…"
}

# refused_outside ADDRESS: the far end answers a port that the client has closed meanwhile; the
# client's error reaches it as one about what the far end sent.
refused_outside() {
  local port=7002 out
  spawn "$FAR" "$RIG_DIR/late.log" python3 "$ROOT/scripts/lib/late_answer.py" "$1" "$port"
  wait_for 5 grep -q ready "$RIG_DIR/late.log" || fail "the far end does not listen"
  in_ns "$CLIENT" python3 -c "
import socket
family = socket.AF_INET6 if ':' in '$1' else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.sendto(b'question', ('$1', $port))"
  wait_for 10 gone "$SPAWNED" || fail "the far end was not told that the port is closed"
  out=$(tail -n 1 "$RIG_DIR/late.log")
  equal "what the far end was told at $1" "${out%% *}" ConnectionRefusedError
  [[ $out == *" from ${2}"* ]] || fail "the error came as $out, not from $2"
  ok "far end at $1: $out"
}

rig_needs
command -v traceroute >/dev/null || skip "traceroute is not installed"
rig_trap
rig_up icmp
far_up
gateway_config "$(other_ports_edit udp)" "$(other_ports_edit tcp)"
gateway_start

step "The far network is reached at all"
ping_ok "$FAR4" 2
ping_ok "$FAR6" 2

step "A time to live that runs out: in the gateway, in the router behind it"
for kind in udp echo tcp; do
  # Of these errors only TCP tells its socket.
  [[ $kind == tcp ]] && told=" EHOSTUNREACH" || told=''
  error_is "$kind, 1 hop" "$LAN_GATEWAY4 11/0$told" "$kind" "$FAR4" 33434 --ttl 1
  error_is "$kind, 2 hops" "$SERVER4 11/0$told" "$kind" "$FAR4" 33434 --ttl 2
  error_is "$kind, 1 hop" "$LAN_GATEWAY6 3/0$told" "$kind" "$FAR6" 33434 --ttl 1
  error_is "$kind, 2 hops" "$SERVER6 3/0$told" "$kind" "$FAR6" 33434 --ttl 2
done

step "traceroute"
hops "UDP" "$LAN_GATEWAY4 $SERVER4 $FAR4" "$FAR4"
hops "ICMP" "$LAN_GATEWAY4 $SERVER4 $FAR4" -I "$FAR4"
hops "UDP" "$LAN_GATEWAY6 $SERVER6 $FAR6" "$FAR6"
hops "ICMP" "$LAN_GATEWAY6 $SERVER6 $FAR6" -I "$FAR6"

step "A closed port, and a destination that the router refuses"
error_is "closed" "$FAR4 3/3 ECONNREFUSED" udp "$FAR4" "$CLOSED_PORT"
error_is "closed" "$FAR6 1/4 ECONNREFUSED" udp "$FAR6" "$CLOSED_PORT"
error_is "prohibited" "$SERVER4 3/13 EHOSTUNREACH" tcp "$FORBIDDEN4" 80
error_is "prohibited" "$SERVER6 1/1 EACCES" tcp "$FORBIDDEN6" 80

step "The path's MTU of $FAR_MTU is discovered through the translation"
error_is "UDP" "$SERVER4 3/4 mtu $FAR_MTU EMSGSIZE" udp "$FAR4" 9 --size 1500
error_is "UDP" "$SERVER6 2/0 mtu $FAR_MTU EMSGSIZE" udp "$FAR6" 9 --size 1500
error_is "ping" "$SERVER4 3/4 mtu $FAR_MTU EMSGSIZE" echo "$FAR4" 99 --size 1500
error_is "ping" "$SERVER6 2/0 mtu $FAR_MTU" echo "$FAR6" 99 --size 1500
equal "the client's MTU to $FAR4" "$(learned_mtu "$FAR4")" "$FAR_MTU"
equal "the client's MTU to $FAR6" "$(learned_mtu "$FAR6")" "$FAR_MTU"
ok "the client's kernel has learned it"
in_ns "$CLIENT" ip route flush cache
in_ns "$CLIENT" ip -6 route flush cache
upload "$FAR4"
upload "$FAR6"
equal "the client's MTU to $FAR4, learned by TCP" "$(learned_mtu "$FAR4")" "$FAR_MTU"
equal "the client's MTU to $FAR6, learned by TCP" "$(learned_mtu "$FAR6")" "$FAR_MTU"

step "A closed port inside: the far end is told, in the words it knows"
refused_outside "$FAR4" "$NAT4"
refused_outside "$FAR6" "$NAT6"

step "Books"
# Every error was about a live connection, and none was made up or lost.
equal "errors that fit no connection" "$(dropped filter-rule)" 0
books_balance
gateway_stop
