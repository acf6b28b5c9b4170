#!/usr/bin/env bash
# Two workers on one gateway: 16 parallel streams through NAT, flows on both, exact books.
#
# Usage: scripts/netns/two-workers.sh
#
# SECONDS_OF_LOAD=N makes the load longer (default 5 s per run).
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

load=${SECONDS_OF_LOAD:-5}
(($(nproc) >= 2)) || skip "two workers need two cores"
rig_needs
rig_trap
rig_up two-workers
gateway_config "$(workers_edit 2)"
gateway_start
servers_start 50

step "16 streams at a time, both directions and both families, $load s each"
iperf "IPv4 LAN to WAN" "$SERVER4" --parallel 16 --time "$load"
for worker in 0 1; do
  at_least "connections on worker $worker" \
    "$(metric turnpike_connections "worker=\"$worker\"")" 1
done
at_least "frames handed over between workers" \
  "$(metric turnpike_worker_handed_over_packets_total)" 1
iperf "IPv4 WAN to LAN" "$SERVER4" --parallel 16 --time "$load" --reverse
iperf "IPv6 LAN to WAN" "$SERVER6" --parallel 16 --time "$load"
iperf "IPv6 WAN to LAN" "$SERVER6" --parallel 16 --time "$load" --reverse
iperf "IPv4 UDP" "$SERVER4" --parallel 4 --time "$load" --udp --bitrate 10M
iperf "IPv6 UDP" "$SERVER6" --parallel 4 --time "$load" --udp --bitrate 10M
http_ok "$SERVER4"
http_ok "$SERVER6"

say "drops: $(drops | tr '\n' ' ')"
step "Books"
books_balance
gateway_stop
