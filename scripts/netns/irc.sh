#!/usr/bin/env bash
# Files that IRC clients send each other directly (DCC), told of through ngircd and NAT: the one
# inside listens, as the sender and as the receiver. Without the helper nobody finds it.
#
# Usage: scripts/netns/irc.sh [--kernel]
#
#   --kernel  the kernel's NAT and its helper in place of the gateway: shows the rig to be right
#
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }
peers_arguments "$@"

# ircd_start: ngircd in the server's namespace, which asks nobody who its clients are.
ircd_start() {
  cat >"$RIG_DIR/ngircd.conf" <<END
[Global]
Name = irc.example.net
Info = a server on the rig
AdminInfo1 = nobody
MotdPhrase = welcome
Listen = $SERVER4
Ports = 6667
ServerUID = 65534
ServerGID = 65534
[Limits]
MaxConnectionsIP = 0
[Options]
DNS = no
Ident = no
PAM = no
END
  spawn "$SERVER" "$RIG_DIR/ngircd.log" ngircd --nodaemon --config "$RIG_DIR/ngircd.conf"
  wait_for 10 listening 6667 || fail "ngircd does not listen: $(tail -n 5 "$RIG_DIR/ngircd.log")"
}

# dcc NS ROLE NICK FILE [PEER]: one end, in the background; sets SPAWNED, and waits until the
# server knows it.
dcc() {
  local ns=$1 role=$2 nick=$3
  shift 3
  spawn "$ns" "$RIG_DIR/$role.log" timeout 20 python3 "$ROOT/scripts/lib/dcc.py" \
    "$role" "$SERVER4" "$nick" "$@"
  wait_for 10 grep -q ready "$RIG_DIR/$role.log" || fail "$role: $(tail -n 1 "$RIG_DIR/$role.log")"
}

# transfer RECEIVER SENDER TO_NS TO FROM_NS FROM: a file from one role to the other, each in its
# namespace and with its nickname; the last lines of both end up in OUTCOME.
transfer() {
  local receiver=$1 sender=$2 to_ns=$3 to=$4 from_ns=$5 from=$6 receiving sending
  rm -f "$RIG_DIR/got"
  dcc "$to_ns" "$receiver" "$to" "$RIG_DIR/got"
  receiving=$SPAWNED
  dcc "$from_ns" "$sender" "$from" "$RIG_DIR/file" "$to"
  sending=$SPAWNED
  wait_for 15 gone "$receiving" || fail "$receiver goes on for too long"
  # A sender whose file nobody fetches need not wait for the rest of its time.
  wait_for 3 gone "$sending" || kill "$sending"
  OUTCOME="$(tail -n 1 "$RIG_DIR/$sender.log"), $(tail -n 1 "$RIG_DIR/$receiver.log")"
}

# whole WHAT TELLER: the file that was sent has arrived, and who connected was told the gateway.
whole() {
  equal "$1: what both ends said" "$OUTCOME" "sent $FILE_SIZE, got $FILE_SIZE"
  equal "$1: checksum" "$(sum_of <"$RIG_DIR/got")" "$(sum_of <"$RIG_DIR/file")"
  local told
  told=$(grep -m 1 ^told "$RIG_DIR/$2.log")
  equal "$1: the address that was told" "$(cut -d ' ' -f 2 <<<"$told")" "$NAT4"
  ok "$1: $told, $FILE_SIZE bytes, sha256 $(sum_of <"$RIG_DIR/got" | head -c 16)…"
}

# nowhere WHAT TELLER: nothing has arrived, as who connected was told the address inside.
nowhere() {
  [[ ! -s $RIG_DIR/got ]] || fail "$1: a file arrived without the helper"
  equal "$1: the address that was told" "$(awk '/^told/ { print $2 }' "$RIG_DIR/$2.log")" "$CLIENT4"
  ok "$1: $(grep -m 1 ^told "$RIG_DIR/$2.log"), then $(tail -n 1 "$RIG_DIR/$2.log")"
}

rig_needs
peers_need ngircd
rig_trap
rig_up irc
FILE_SIZE=300000
head -c "$FILE_SIZE" /dev/urandom >"$RIG_DIR/file"
peers_through "{ irc: { disabled: no } }"
ircd_start

step "A file from inside to outside: the sender listens"
transfer take offer "$SERVER" bob "$CLIENT" alice
whole "DCC SEND" take

step "A file from outside to inside: the receiver listens"
transfer listen call "$CLIENT" carol "$SERVER" dave
whole "reverse DCC SEND" call

step "Without the helper nobody finds the way in"
peers_again "{ irc: { disabled: yes } }"
transfer take offer "$SERVER" erin "$CLIENT" frank
nowhere "DCC SEND" take
peers_end
