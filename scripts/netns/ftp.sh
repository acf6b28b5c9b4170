#!/usr/bin/env bash
# FTP through the gateway with real programs: curl and lftp, vsftpd; active and passive, both
# families, from behind the NAT and to a server behind it, in one-byte segments too; and TFTP.
#
# Usage: scripts/netns/ftp.sh
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../lib/rig.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/rig.sh"
[[ ${1:-} != --help ]] || { usage_of "$0" && exit; }

PACKAGES_FTP=(vsftpd lftp curl tftpd-hpa)

# ftp_server NS: vsftpd with one file of random bytes.
ftp_server() {
  local root=$RIG_DIR/ftp-${1##*-}
  mkdir -p "$root/pub" "$root/empty"
  cp "$RIG_DIR/file" "$root/pub/file"
  chmod 755 "$RIG_DIR" "$root" "$root/pub" && chmod 644 "$root/pub/file"
  cat >"$root.conf" <<END
listen=NO
listen_ipv6=YES
anonymous_enable=YES
anon_root=$root
no_anon_password=YES
connect_from_port_20=YES
background=NO
seccomp_sandbox=NO
secure_chroot_dir=$root/empty
xferlog_enable=NO
END
  spawn "$1" "$root.log" vsftpd "$root.conf"
  wait_for 10 ftp_listens "$1" || fail "vsftpd did not start: $(cat "$root.log")"
}

ftp_listens() { in_ns "$1" ss -Hltn 'sport = :21' | grep -q .; }

# whole WHAT NS COMMAND...: the command's output is the file.
whole() {
  local what=$1 ns=$2 got
  shift 2
  got=$(in_ns "$ns" timeout 60 "$@" 2>"$RIG_DIR/err" | sum_of) ||
    fail "$what: $(tail -n 3 "$RIG_DIR/err")"
  equal "checksum, $what" "$got" "$FILE_SUM"
  ok "$what"
}

# fetch_all NS ADDRESS: the file in every way that its family has.
fetch_all() {
  local ns=$1 url lftp='set ftp:prefer-epsv no; set net:timeout 10; set net:max-retries 1'
  url=ftp://$(host_of "$2")
  whole "curl, passive (EPSV), $2" "$ns" curl -sS "$url/pub/file"
  whole "curl, active (EPRT), $2" "$ns" curl -sS --ftp-port - "$url/pub/file"
  if [[ $2 != *:* ]]; then
    whole "curl, passive (PASV), $2" "$ns" curl -sS --disable-epsv "$url/pub/file"
    whole "curl, active (PORT), $2" "$ns" curl -sS --disable-eprt --ftp-port - "$url/pub/file"
    whole "lftp, active, $2" "$ns" \
      lftp -e "$lftp; set ftp:passive-mode off; cat pub/file; bye" "$2"
    whole "lftp, passive, $2" "$ns" lftp -e "$lftp; cat pub/file; bye" "$2"
  fi
}

# bytewise NS ADDRESS: the same with a control connection in segments of one byte.
bytewise() {
  local script
  script=$(dirname "${BASH_SOURCE[0]}")/../lib/ftp_bytes.py
  whole "single bytes, active, $2" "$1" python3 "$script" "$2" pub/file active
  whole "single bytes and Nagle, active, $2" "$1" python3 "$script" "$2" pub/file active nagle
  [[ $2 == *:* ]] || whole "single bytes, passive, $2" "$1" \
    python3 "$script" "$2" pub/file passive
}

rig_needs
install_packages "${PACKAGES_FTP[@]}"
rig_trap
rig_up ftp
dst_nat="chain: dstnat, in-interface: wan, protocol: tcp, dst-port: 21, action: dst-nat"
gateway_config "/^  nat:/a\    - { $dst_nat, to-addresses: $CLIENT4 }" \
  "/^  filter:/a\    - { chain: forward, connection-nat-state: dstnat, action: accept }"
gateway_start
head -c 3000000 /dev/urandom >"$RIG_DIR/file"
FILE_SUM=$(sum_of <"$RIG_DIR/file")

step "A client behind the NAT"
ftp_server "$SERVER"
fetch_all "$CLIENT" "$SERVER4"
fetch_all "$CLIENT" "$SERVER6"
bytewise "$CLIENT" "$SERVER4"
bytewise "$CLIENT" "$SERVER6"

step "A server behind the NAT, reached by the gateway's address"
ftp_server "$CLIENT"
fetch_all "$SERVER" "$NAT4"
bytewise "$SERVER" "$NAT4"

step "TFTP"
cp "$RIG_DIR/file" "$RIG_DIR/ftp-server/file"
truncate -s 100000 "$RIG_DIR/ftp-server/file"
tftp_sum=$(sum_of <"$RIG_DIR/ftp-server/file")
spawn "$SERVER" "$RIG_DIR/tftpd.log" in.tftpd -L --address :69 --secure "$RIG_DIR/ftp-server"
tftp_listens() { in_ns "$SERVER" ss -Hlun "sport = :69" | grep -q .; }
wait_for 10 tftp_listens || fail "in.tftpd did not start"
for address in "$SERVER4" "$SERVER6"; do
  got=$(in_ns "$CLIENT" timeout 30 curl -sS "tftp://$(host_of "$address")/file" | sum_of)
  equal "checksum by TFTP, $address" "$got" "$tftp_sum"
  ok "curl, tftp://$address"
done

step "What the gateway says of it"
turnpike helpers >"$RIG_DIR/helpers" && sed -n 1,14p "$RIG_DIR/helpers" | indent
turnpike helpers --json >"$RIG_DIR/helpers.json"
of_ftp() { jq -r "$1" "$RIG_DIR/helpers.json"; }
equal "state of ftp" "$(of_ftp '.helpers[] | select(.name == "ftp").state')" active
at_least "rewrites of ftp that are shown" \
  "$(of_ftp '[.rewrites[] | select(.helper == "ftp")] | length')" 10
at_least "packets that ftp has read" \
  "$(metric turnpike_helper_packets_total 'helper="ftp"')" 100
books_balance
gateway_stop
