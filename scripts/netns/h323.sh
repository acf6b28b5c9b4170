#!/usr/bin/env bash
# H.323 calls through NAT between two Asterisk, inside and outside, that hear each other: with a
# connection of its own for the control of media (H.245), and with fast start. Without the helper
# they do not.
#
# Usage: scripts/netns/h323.sh [--kernel] [--chroot DIR]
#
#   --kernel      the kernel's NAT and its helper in place of the gateway: shows the rig to be right
#   --chroot DIR  where Debian 11 is, or is to be put (default target/bullseye): the last Debian
#                 with programs for H.323; 500 MB of root's, which take minutes the first time
#
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

CHROOT=$ROOT/target/bullseye
MIRROR=http://deb.debian.org/debian
# How long a call lasts, and the least that each must hear of it: 50 packets make a second.
SECONDS_TALKED=3
HEARD_MIN=100
RTP_PORTS=21000-21099
# What of Asterisk is loaded: H.323, a command that calls, a tone, and what these need.
PRELOADED=(res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb)
MODULES=(res_timing_timerfd res_rtp_asterisk res_clioriginate chan_ooh323 chan_bridge_media
  bridge_simple bridge_softmix pbx_config app_milliwatt codec_ulaw format_pcm func_callerid)

arguments=()
while (($#)); do
  case $1 in
    --chroot) CHROOT=${2:?--chroot takes a directory} && shift ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
peers_arguments ${arguments[@]+"${arguments[@]}"}

# chroot_ready: Debian 11 with Asterisk, made where it is missing.
chroot_ready() {
  [[ ! -d $CHROOT ]] || return 0
  command -v debootstrap >/dev/null || skip "debootstrap is not installed (scripts/test --long)"
  step "Debian 11 with Asterisk in $CHROOT"
  local log=$CHROOT.log unfinished=$CHROOT.unfinished
  rm -rf "$unfinished"
  chroot_make "$unfinished" >"$log" 2>&1 || skip "Debian 11 cannot be had: $(tail -n 1 "$log")"
  mv "$unfinished" "$CHROOT"
  ok "$(chroot "$CHROOT" /usr/sbin/asterisk -V)"
}

# chroot_make DIR: installs it, and starts nothing of it.
chroot_make() {
  timeout 900 debootstrap --variant=minbase bullseye "$1" "$MIRROR" || return
  printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
  chmod 755 "$1/usr/sbin/policy-rc.d"
  DEBIAN_FRONTEND=noninteractive timeout 600 chroot "$1" \
    apt-get -q install -y --no-install-recommends asterisk asterisk-ooh323
}

# asterisk NAME NS ADDRESS PEER WAY...: one that plays a tone to its peer, whom it calls in one of
# these ways, and which may call it in the first of them.
asterisk() {
  local home=/rig/$1 folder=$CHROOT/rig/$1
  rm -rf "$folder"
  mkdir -p "$folder"/{db,spool,run,log}
  cat >"$folder/asterisk.conf" <<END
[directories]
astetcdir => $home
astmoddir => /usr/lib/asterisk/modules
astdatadir => /usr/share/asterisk
astvarlibdir => $home/db
astdbdir => $home/db
astkeydir => $home/db
astagidir => $home/db
astspooldir => $home/spool
astrundir => $home/run
astlogdir => $home/log
END
  {
    printf '[modules]\nautoload=no\n'
    printf 'preload=%s.so\n' "${PRELOADED[@]}"
    printf 'load=%s.so\n' "${MODULES[@]}"
  } >"$folder/modules.conf"
  printf '[general]\nenabled=no\n' >"$folder/manager.conf"
  printf '[logfiles]\nmessages => notice,warning,error\n' >"$folder/logger.conf"
  printf '[general]\nrtpstart=%s\nrtpend=%s\n' "${RTP_PORTS%-*}" "${RTP_PORTS#*-}" \
    >"$folder/rtp.conf"
  printf '[default]\nexten => 100,1,Answer()\nexten => 100,2,Milliwatt()\n' \
    >"$folder/extensions.conf"
  h323_conf "$1" "${@:3}" >"$folder/ooh323.conf"
  spawn "$2" "$RIG_DIR/$1.log" chroot "$CHROOT" /usr/sbin/asterisk -f -C "$home/asterisk.conf"
  wait_for 20 cli "$1" "$2" 'core waitfullybooted' || fail "$1: $(tail -n 5 "$RIG_DIR/$1.log")"
}

# h323_conf NAME ADDRESS PEER WAY...: the peer under the name of each way, `plain` or `fast`:
# with fast start, and what controls the media inside the call's own connection.
h323_conf() {
  local name=$1 address=$2 peer=$3 way switch
  shift 3
  cat <<END
[general]
bindaddr=$address
port=1720
h323id=$name
callerid=$name
gatekeeper=DISABLE
faststart=yes
h245tunneling=yes
context=default
disallow=all
allow=ulaw
directmedia=no
logfile=/rig/$name/log/h323
tracelevel=6
END
  for way in "$@"; do
    switch=no
    [[ $way == plain ]] || switch=yes
    cat <<END
[$way]
type=friend
ip=$peer
port=1720
context=default
disallow=all
allow=ulaw
faststart=$switch
h245tunneling=$switch
END
  done
}

# cli NAME NS COMMAND: a command to the Asterisk of that name.
cli() {
  in_ns "$2" timeout 5 chroot "$CHROOT" /usr/sbin/asterisk -C "/rig/$1/asterisk.conf" -rx "$3" \
    >"$RIG_DIR/cli.log" 2>&1
}

# talk NAME NS WAY: a call from this Asterisk to the other one, in this way; sets HEARD_INSIDE and
# HEARD_OUTSIDE.
talk() {
  ears "$CLIENT" "$RTP_PORTS"
  ears "$SERVER" "$RTP_PORTS"
  cli "$1" "$2" "channel originate OOH323/100@$3 application Milliwatt" ||
    fail "$1 takes no command: $(<"$RIG_DIR/cli.log")"
  sleep "$SECONDS_TALKED"
  HEARD_INSIDE=$(heard "$CLIENT") HEARD_OUTSIDE=$(heard "$SERVER")
  cli "$1" "$2" 'channel request hangup all' || true
  sleep 1
}

# both_hear WHAT NAME NS WAY: both ends of a call hear each other.
both_hear() {
  talk "$2" "$3" "$4"
  at_least "$1: packets of sound heard inside" "$HEARD_INSIDE" "$HEARD_MIN"
  at_least "$1: packets of sound heard outside" "$HEARD_OUTSIDE" "$HEARD_MIN"
  ok "$1: $HEARD_INSIDE packets of sound inside, $HEARD_OUTSIDE outside in $SECONDS_TALKED s"
}

# deaf WHAT NAME NS WAY: the one inside hears nothing.
deaf() {
  talk "$2" "$3" "$4"
  equal "$1: packets of sound heard inside" "$HEARD_INSIDE" 0
  ok "$1: nothing heard inside, $HEARD_OUTSIDE packets outside"
}

rig_needs
chroot_ready
rig_trap
rig_up h323
peers_through '{ h323: { disabled: no } }'
asterisk outside "$SERVER" "$SERVER4" "$NAT4" fast
asterisk inside "$CLIENT" "$CLIENT4" "$SERVER4" plain fast

step "Calls from inside to outside"
both_hear "with a connection for H.245" inside "$CLIENT" plain
if [[ $ROUTER == kernel ]]; then
  say "fast start: the kernel's helper leaves its addresses as they are, so that it is not tried"
else
  both_hear "with fast start, H.245 in the call's connection" inside "$CLIENT" fast
fi

step "Without the helper nobody inside hears anything"
peers_again '{ h323: { disabled: yes } }'
deaf "with a connection for H.245" inside "$CLIENT" plain
peers_end
