#!/usr/bin/env bash
# Two calls at once from two hosts inside to one PPTP server, pptp and pptpd, through NAT: what is
# sent through each comes back through that one. Without the helper that is so for one at most.
#
# Usage: scripts/netns/pptp.sh [--kernel]
#
#   --kernel  the kernel's NAT and its helper in place of the gateway: shows the rig to be right
#
# The ends of the PPP links are a script (scripts/lib/ppp_end.py), so that no kernel PPP is needed.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }
peers_arguments "$@"

SECOND4=192.168.88.11
ECHOES=20

# pptpd_start: the server; each of its calls is answered by a script in place of pppd.
pptpd_start() {
  cat >"$RIG_DIR/answer" <<END
#!/bin/sh
exec python3 "$ROOT/scripts/lib/ppp_end.py" serve "$RIG_DIR/answered.log" "\$@"
END
  chmod +x "$RIG_DIR/answer"
  printf 'localip 192.168.77.1\nremoteip 192.168.77.2-9\n' >"$RIG_DIR/pptpd.conf"
  spawn "$SERVER" "$RIG_DIR/pptpd.log" pptpd --fg --conf "$RIG_DIR/pptpd.conf" \
    --listen "$SERVER4" --ppp "$RIG_DIR/answer" --option /dev/null --pidfile "$RIG_DIR/pptpd.pid"
  wait_for 10 listening 1723 || fail "pptpd does not listen: $(tail -n 5 "$RIG_DIR/pptpd.log")"
}

# call NAME ADDRESS: a call from this address of the client's, in the background; sets SPAWNED.
# Calls find each other by files in /run/pptp, which are this call's own here: two hosts.
call() {
  # shellcheck disable=SC2016 # the inner shell reads its own arguments
  spawn "$CLIENT" "$RIG_DIR/$1.log" sh -c '
    mkdir -p /run/pptp && mount -t tmpfs rig /run/pptp && exec timeout 15 "$@"' sh \
    python3 "$ROOT/scripts/lib/ppp_end.py" call "$1" "$ECHOES" \
    pptp "$SERVER4" --nolaunchpppd --nohostroute --localbind "$2"
}

# both_calls: a call from each of the two addresses, at the same time, until both have ended.
both_calls() {
  local first second
  call "$1" "$CLIENT4"
  first=$SPAWNED
  call "$2" "$SECOND4"
  second=$SPAWNED
  wait_for 15 gone "$first" || fail "$1 goes on for too long"
  wait_for 15 gone "$second" || fail "$2 goes on for too long"
}

# outcome NAME: how many of the call's echoes came back.
outcome() { tail -n 1 "$RIG_DIR/$1.log"; }

rig_needs
peers_need pptpd pptp-linux
rig_trap
rig_up pptp
ip -n "$CLIENT" address add "$SECOND4/24" dev lan0
peers_through '{ pptp: { disabled: no } }'
pptpd_start

step "Two calls at once"
both_calls north south
for name in north south; do
  equal "echoes through the call of $name" "$(outcome "$name")" "$name $ECHOES of $ECHOES"
  at_least "questions of $name that the server has answered" \
    "$(grep -c "^answered [0-9]* $name " "$RIG_DIR/answered.log")" "$ECHOES"
  ok "$(outcome "$name") echoes came back"
done

step "Without the helper there is one tunnel between two addresses, and not two calls"
peers_again '{ pptp: { disabled: yes } }'
both_calls east west
at_least "calls through which nothing came back" \
  "$(tail -qn 1 "$RIG_DIR"/{east,west}.log | grep -c " 0 of $ECHOES")" 1
ok "$(outcome east), $(outcome west) echoes came back"
peers_end
