#!/usr/bin/env bash
# A stream that GStreamer plays from GStreamer's RTSP server through NAT: over UDP, which the helper
# lets in, and inside the connection. Without the helper nothing comes over UDP.
#
# Usage: scripts/netns/rtsp.sh [--kernel]
#
#   --kernel  the kernel's NAT, which has no helper for this, in place of the gateway: shows that
#             the rig is right where none is needed, and wants one where the gateway has to have it
#
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }
peers_arguments "$@"

# How long a stream is listened to, and the least it must have brought: 16 bits, 8000 times a
# second, and a second of them.
SECONDS_PLAYED=3
BYTES_MIN=16000

server_start() {
  spawn "$SERVER" "$RIG_DIR/rtsp.log" /usr/bin/python3 "$ROOT/scripts/lib/rtsp_server.py" \
    "$SERVER4" /tone
  wait_for 20 grep -q ready "$RIG_DIR/rtsp.log" ||
    fail "the RTSP server does not listen: $(tail -n 3 "$RIG_DIR/rtsp.log")"
}

# play TRANSPORT: plays the stream for a while and sets PLAYED to how many bytes of sound came out.
# Without `nat-method=none` the player would punch its own hole through the translation.
play() {
  local out=$RIG_DIR/$1.raw
  rm -f "$out"
  in_ns "$CLIENT" timeout --signal INT --kill-after 5 "$((SECONDS_PLAYED + 2))" \
    gst-launch-1.0 -q rtspsrc "location=rtsp://$SERVER4/tone" "protocols=$1" nat-method=none \
    latency=100 "timeout=${SECONDS_PLAYED}000000" ! rtppcmadepay ! alawdec ! \
    filesink "location=$out" buffer-mode=unbuffered >"$RIG_DIR/$1.log" 2>&1 || true
  PLAYED=$(stat -c %s "$out" 2>/dev/null || echo 0)
}

# plays WHAT TRANSPORT: sound comes, for the greater part of the time.
plays() {
  play "$2"
  ((PLAYED >= BYTES_MIN)) || fail "$1: $PLAYED bytes of sound; $(tail -n 5 "$RIG_DIR/$2.log")"
  ok "$1: $PLAYED bytes of sound in $SECONDS_PLAYED s"
}

# silent WHAT TRANSPORT: the session is set up, and not a byte of sound comes.
silent() {
  play "$2"
  equal "$1: bytes of sound" "$PLAYED" 0
  ok "$1: $(grep -m 1 -o 'Could not receive any UDP packets[^,]*' "$RIG_DIR/$2.log")"
}

rig_needs
peers_need gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-tools gstreamer1.0-plugins-base \
  gstreamer1.0-plugins-good
rig_trap
rig_up rtsp
peers_through '{ rtsp: { disabled: no } }'
server_start

step "Over UDP, to ports that the client has named"
[[ $ROUTER == kernel ]] || plays "RTP over UDP" udp
step "Inside the connection"
plays "interleaved in TCP" tcp

step "Without the helper nothing comes over UDP"
peers_again '{ rtsp: { disabled: yes } }'
silent "RTP over UDP" udp
peers_end
