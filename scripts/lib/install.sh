# shellcheck shell=bash
# shellcheck disable=SC2034 # its names are read by the scripts that source it
# Debian packages: installs those that are missing, as root or by sudo, and touches nothing else.
# Sourced after ui.sh.

# What the build needs: DPDK, the compiler behind its bindings, a C compiler and a linker, and
# Vectorscan.
PACKAGES_BUILD=(build-essential clang libclang-dev pkg-config
  dpdk libdpdk-dev libpcap-dev libnuma-dev
  libvectorscan-dev)
# What sends and judges the traffic in the namespaces.
PACKAGES_RIG=(conntrack curl ethtool iperf3 iproute2 iputils-ping jq kmod nftables procps python3
  traceroute)
# Real clients and servers of the protocols that have a helper.
PACKAGES_PEERS=(ngircd                     # irc
  pptpd pptp-linux                         # pptp
  gir1.2-gst-rtsp-server-1.0 python3-gi    # rtsp
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  baresip-core kamailio)                   # sip
# What only the long run needs: it installs another Debian for programs that this one lacks.
PACKAGES_LONG=(debootstrap)
# What the checks of the tree need.
PACKAGES_CHECK=(git jq shellcheck)

# can_be_root: true when this is root, or sudo works without asking a question.
can_be_root() { ((EUID == 0)) || sudo -n true 2>/dev/null; }

# as_root COMMAND...: runs the command as root; sudo may ask for its password.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    fail "'$1' needs root and there is no sudo: run this script as root"
  fi
}

# missing_packages NAME...: prints the packages of the list that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' ||
      printf '%s\n' "$name"
  done
}

# install_packages NAME...: installs what is missing of the list, quietly.
install_packages() {
  command -v apt-get >/dev/null || fail "no apt-get here: this script knows Debian 12 only"
  local missing log
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  say "installing: ${missing[*]}"
  log=$(mktemp)
  if ! apt_install "${missing[@]}" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install: ${missing[*]}"
  fi
  rm -f "$log"
}

# apt_install NAME...: servers among the packages are for the rig's namespaces, so that none is
# started on this machine, unless it has a policy of its own about that.
apt_install() {
  # shellcheck disable=SC2016 # the inner shell reads its own arguments
  as_root apt-get -q update && as_root sh -c '
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap "rm -f $policy" EXIT
      printf "#!/bin/sh\nexit 101\n" >"$policy"
      chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q install -y --no-install-recommends "$@"' sh "$@"
}

# need_cargo: puts rustup's usual place on the PATH and fails when there is no cargo at all.
need_cargo() {
  command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null ||
    fail "no cargo: install the Rust toolchain named in rust-toolchain.toml (https://rustup.rs)"
}
