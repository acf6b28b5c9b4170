#!/usr/bin/env bash
# Two uplinks, as in configs/two-uplinks.yaml: connections are divided between them, each stays with
# its own, what comes in by one is answered by it, and a reload moves what its tables lead.
#
# Usage: scripts/netns/two-uplinks.sh
#
# The rig's server is the first provider, one namespace more is the second. Both have the same 16
# addresses behind them, and whoever connects there is told by whom it is answered, and how it is
# seen:
#
#   client -- gateway -+- first   203.0.113.1 -- 198.51.100.1 to .16
#                      +- second  198.18.2.1 --- 198.51.100.1 to .16
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

PORT=7000 HOSTS=16
ROUTER1=203.0.113.1 ROUTER2=198.18.2.1
OUTSIDE1=203.0.113.2 OUTSIDE2=198.18.2.2

# provider_up NS NAME: the addresses behind a provider, and who answers there.
provider_up() {
  local n
  for ((n = 1; n <= HOSTS; n++)); do
    ip -n "$1" address add "198.51.100.$n/32" dev lo
  done
  answering "$1" "$2" "$PORT"
}

# answering NS NAME PORT: tells whoever connects this name and the address it has come from.
answering() {
  spawn "$1" "$RIG_DIR/$2.log" python3 -c '
import socketserver, sys
class Who(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(f"{sys.argv[1]} {self.client_address[0]}".encode())
        self.request.recv(1)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("", int(sys.argv[2])), Who).serve_forever()' "$2" "$3"
  wait_for 5 is_open "$1" "$3" || fail "$2 does not listen"
}

is_open() { in_ns "$1" ss -Hltn "sport = :$2" | grep -q .; }

# ask NS SOURCE ADDRESS PORT: what whoever answers there says.
ask() {
  in_ns "$1" python3 - "$2" "$3" "$4" <<'END'
import socket, sys
source, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
with socket.create_connection((address, port), 5, (source, 0)) as s:
    print(s.recv(100).decode())
END
}

# divided: asks every host, and writes `HOST PROVIDER SEEN-AS` for each.
divided() {
  local n
  for ((n = 1; n <= HOSTS; n++)); do
    printf '%s ' "198.51.100.$n"
    ask "$CLIENT" "$CLIENT4" "198.51.100.$n" "$PORT" || fail "198.51.100.$n does not answer"
  done
}

rig_needs
rig_trap
rig_up two-uplinks
rig_add second
# shellcheck disable=SC2153 # rig_add has set it
wire "$SECOND" wan0 tp-wan2
ip -n "$SECOND" address add "$ROUTER2/24" dev wan0
provider_up "$SERVER" first
provider_up "$SECOND" second
CONFIG=$RIG_DIR/gateway.yaml SOCKET=$RIG_DIR/api.sock
sed -E -e 's#"0000:03:00.0"#"net_af_packet0,iface=tp-lan"#' \
  -e 's#"0000:03:00.1"#"net_af_packet1,iface=tp-wan"#' \
  -e 's#"0000:03:00.2"#"net_af_packet2,iface=tp-wan2"#' \
  -e "s#192\\.168\\.88\\.80#$CLIENT4#" \
  -e "/^services:/a\\  api: { socket: $SOCKET }" "$ROOT/configs/two-uplinks.yaml" >"$CONFIG"
gateway_start

step "Connections are divided between both, and each is seen by its uplink's address"
divided >"$RIG_DIR/first-time"
equal "connections seen otherwise" "$(grep -vcE " (first $OUTSIDE1|second $OUTSIDE2)\$" \
  "$RIG_DIR/first-time" || true)" 0
for provider in first second; do
  at_least "connections by the $provider" "$(grep -c " $provider " "$RIG_DIR/first-time")" 3
done
ok "$(grep -c ' first ' "$RIG_DIR/first-time") by the first, $(grep -c ' second ' \
  "$RIG_DIR/first-time") by the second"
divided | cmp -s - "$RIG_DIR/first-time" || fail "the same hosts were divided otherwise"
ok "and the same way again"

step "What comes in by an uplink is answered by it"
for uplink in "$SERVER $OUTSIDE1" "$SECOND $OUTSIDE2"; do
  read -r ns outside <<<"$uplink"
  in_ns "$ns" ping -n -c 2 -i 0.2 -W 2 -I 198.51.100.7 "$outside" >/dev/null ||
    fail "no answer from $outside"
  ok "ping of $outside"
done
answering "$CLIENT" inside 443
for uplink in "$SERVER $OUTSIDE1" "$SECOND $OUTSIDE2"; do
  read -r ns outside <<<"$uplink"
  equal "the server behind $outside" "$(ask "$ns" 198.51.100.7 "$outside" 443)" \
    "inside 198.51.100.7"
  ok "a connection to the server behind $outside"
done

step "A reload that leads the second table to the first provider"
sed -i -E "s#gateway: $ROUTER2, routing-table: to-isp2#gateway: $ROUTER1, routing-table: to-isp2#" \
  "$CONFIG"
sed -i '/^tests:/,$d' "$CONFIG"
turnpike reload >/dev/null
divided >"$RIG_DIR/after-reload"
equal "connections by the second" "$(grep -c ' second ' "$RIG_DIR/after-reload" || true)" 0
ok "all go by the first"

step "Books"
books_balance
gateway_stop
