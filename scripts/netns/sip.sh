#!/usr/bin/env bash
# Telephones behind NAT: baresip inside and outside, both registered with Kamailio outside, call
# each other, over UDP and over TCP, and hear each other. Without the helper they do not.
#
# Usage: scripts/netns/sip.sh [--kernel]
#
#   --kernel  the kernel's NAT and its helper in place of the gateway: shows the rig to be right
#
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }
peers_arguments "$@"

# How long a call lasts, and the least that each must hear of it: 50 packets make a second.
SECONDS_TALKED=2
HEARD_MIN=60
CONTROL_PORT=4444 BOB_PORT=5070 RTP_PORTS=10000-10099

# registrar_start: Kamailio, which believes who says to be whom, and stays in the way of each call.
registrar_start() {
  cat >"$RIG_DIR/kamailio.cfg" <<END
children=1
tcp_children=1
disable_tcp=no
auto_aliases=no
log_stderror=yes
listen=udp:$SERVER4:5060
listen=tcp:$SERVER4:5060
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_mode", 0)
request_route {
  if (is_method("REGISTER")) {
    save("location", "0x04");
    exit;
  }
  if (is_method("INVITE|SUBSCRIBE")) record_route();
  if (has_totag()) loose_route();
  else if (!lookup("location")) {
    sl_send_reply("404", "Not Found");
    exit;
  }
  t_relay();
}
END
  spawn "$SERVER" "$RIG_DIR/kamailio.log" kamailio -DD -E -m 32 -M 4 -f "$RIG_DIR/kamailio.cfg" \
    -Y "$RIG_DIR" -w "$RIG_DIR"
  wait_for 10 listening 5060 || fail "Kamailio does not listen: $(tail "$RIG_DIR/kamailio.log")"
}

# phone NAME NS ENDPOINT TRANSPORT: a telephone that is registered and takes every call; its process
# goes into PHONES.
phone() {
  local folder=$RIG_DIR/$1 account
  rm -rf "$folder"
  mkdir "$folder"
  cat >"$folder/config" <<END
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:$CONTROL_PORT
sip_listen $3
audio_source aufile,$RIG_DIR/tone.wav
audio_player aufile,/dev/null
audio_alert aufile,/dev/null
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports $RTP_PORTS
END
  account="<sip:$1@$SERVER4;transport=$4>;outbound=\"sip:$SERVER4;transport=$4\""
  printf '%s;auth_pass=none;regint=60;answermode=auto\n' "$account" >"$folder/accounts"
  spawn "$2" "$folder/log" baresip -f "$folder"
  PHONES+=("$SPAWNED")
  wait_for 10 said "$1" '200 OK .*1 binding' || fail "$1 is not registered: $(<"$folder/log")"
}

# said NAME REGEX: whether a telephone has said this.
said() { grep -qE "$2" "$RIG_DIR/$1/log"; }

# press NS COMMAND [PARAMETER]: a command to the telephone in a namespace.
press() {
  # shellcheck disable=SC2016 # the inner shell reads its own arguments
  in_ns "$1" timeout 5 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf "%d:%s," "${#2}" "$2" >&3
    read -r -t 3 -n 1 -u 3' \
    bash "$CONTROL_PORT" "{\"command\":\"$2\",\"params\":\"${3:-}\"}"
}

# hang_up: all telephones end; they sign off from their registrar, which must be there still.
hang_up() {
  kill -TERM "${PHONES[@]}"
  local pid
  for pid in "${PHONES[@]}"; do
    wait_for 8 gone "$pid" || fail "a telephone does not end"
  done
  PHONES=()
}

# talk FROM_NS TO: a call to the telephone of that name; sets HEARD_INSIDE and HEARD_OUTSIDE.
talk() {
  ears "$CLIENT" "$RTP_PORTS"
  ears "$SERVER" "$RTP_PORTS"
  press "$1" dial "sip:$2@$SERVER4" || fail "the telephone takes no command"
  sleep "$SECONDS_TALKED"
  HEARD_INSIDE=$(heard "$CLIENT") HEARD_OUTSIDE=$(heard "$SERVER")
  press "$1" hangup || true
  sleep 0.5
}

# both_hear WHAT FROM_NS TO: both ends of a call hear each other.
both_hear() {
  talk "$2" "$3"
  at_least "$1: packets of sound heard inside" "$HEARD_INSIDE" "$HEARD_MIN"
  at_least "$1: packets of sound heard outside" "$HEARD_OUTSIDE" "$HEARD_MIN"
  ok "$1: $HEARD_INSIDE packets of sound inside, $HEARD_OUTSIDE outside in $SECONDS_TALKED s"
}

# deaf WHAT FROM_NS TO: the one inside hears nothing.
deaf() {
  talk "$2" "$3"
  equal "$1: packets of sound heard inside" "$HEARD_INSIDE" 0
  ok "$1: nothing heard inside, $HEARD_OUTSIDE packets outside"
}

# phones TRANSPORT: Bob's telephone outside and Alice's inside.
phones() {
  phone bob "$SERVER" "$SERVER4:$BOB_PORT" "$1"
  phone alice "$CLIENT" "$CLIENT4:5060" "$1"
}

# tone_make: what the telephones say, ten seconds of it.
tone_make() {
  python3 - "$RIG_DIR/tone.wav" <<'END'
import array, math, sys, wave
with wave.open(sys.argv[1], "wb") as tone:
    tone.setnchannels(1)
    tone.setsampwidth(2)
    tone.setframerate(8000)
    samples = (round(9000 * math.sin(0.3 * at)) for at in range(80000))
    tone.writeframes(array.array("h", samples).tobytes())
END
}

rig_needs
peers_need baresip-core kamailio
rig_trap
rig_up sip
PHONES=()
tone_make
peers_through '{ sip: { disabled: no } }'
registrar_start

for transport in udp tcp; do
  step "Calls over ${transport^^}"
  phones "$transport"
  both_hear "Alice inside calls Bob outside" "$CLIENT" bob
  both_hear "Bob outside calls Alice inside" "$SERVER" alice
  hang_up
done

step "Without the helper nobody inside hears anything"
peers_again '{ sip: { disabled: yes } }'
for transport in udp tcp; do
  phones "$transport"
  deaf "Alice inside calls Bob outside, ${transport^^}" "$CLIENT" bob
  hang_up
done
peers_end
