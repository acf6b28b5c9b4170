# shellcheck shell=bash
# shellcheck disable=SC2034 # its names are read by the scripts that source it
# The rig: client -- gateway -- server, three network namespaces joined by two veth pairs.
#
#   client  lan0  192.168.88.10  fd00:88::10       default route through the gateway
#   gateway tp-lan, tp-wan                         no addresses: the kernel stays out of the way
#   server  wan0  203.0.113.1    2001:db8:113::1   no route back to the client's prefixes
#
# The server can answer only what was translated to the gateway's WAN addresses. What lives in the
# namespaces was started by the rig, and rig_down ends it.
# Sourced after ui.sh; the functions need root.

LAN_GATEWAY4=192.168.88.1 LAN_GATEWAY6=fd00:88::1
CLIENT4=192.168.88.10 CLIENT6=fd00:88::10
NAT4=203.0.113.2 NAT6=2001:db8:113::2
SERVER4=203.0.113.1 SERVER6=2001:db8:113::1

HUGEPAGES=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# rig_needs: skips the script, with the reason, where this machine cannot carry the rig.
rig_needs() {
  ((EUID == 0)) || skip "network namespaces need root"
  local probe=tp-probe-$$
  ip netns add "$probe" 2>/dev/null || skip "this kernel or container makes no network namespaces"
  if ! ip -n "$probe" link add probe0 type veth peer name probe1 2>/dev/null; then
    ip netns del "$probe"
    skip "this kernel has no veth devices"
  fi
  ip netns del "$probe"
}

# rig_up NAME: makes the rig and sets RIG, RIG_DIR, CLIENT, GATEWAY and SERVER.
rig_up() {
  rig_use "tp-$1-$$" "$(mktemp -d "/tmp/turnpike-$1.XXXXXX")"
  cat "$HUGEPAGES" >"$RIG_DIR/hugepages" 2>/dev/null || true
  local ns
  for ns in "${NAMESPACES[@]}"; do
    new_ns "$ns"
  done
  in_ns "$GATEWAY" sysctl -qw net.ipv6.conf.{all,default}.disable_ipv6=1 net.ipv4.ip_forward=0
  wire "$CLIENT" lan0 tp-lan
  wire "$SERVER" wan0 tp-wan
  address "$CLIENT" lan0 "$CLIENT4/24" "$CLIENT6/64"
  address "$SERVER" wan0 "$SERVER4/24" "$SERVER6/64"
  ip -n "$CLIENT" route add default via "$LAN_GATEWAY4"
  ip -n "$CLIENT" route add default via "$LAN_GATEWAY6"
}

# new_ns NS: a namespace that says nothing on its own.
new_ns() {
  ip netns add "$1"
  ip -n "$1" link set lo up
  in_ns "$1" sysctl -qw net.ipv6.conf.{all,default}.accept_ra=0 \
    net.ipv6.conf.{all,default}.router_solicitations=0 \
    net.ipv6.conf.{all,default}.accept_dad=0 net.ipv6.conf.{all,default}.dad_transmits=0
}

# rig_add NAME: one namespace more, which goes with the rig; sets a variable of that name, in
# capitals.
rig_add() {
  local ns=$RIG-$1
  printf -v "${1^^}" '%s' "$ns"
  NAMESPACES+=("$ns")
  new_ns "$ns"
}

# rig_use RIG DIR: names the parts of a rig, new or left running by --keep.
rig_use() {
  RIG=$1 RIG_DIR=$2
  CLIENT=$RIG-client GATEWAY=$RIG-gateway SERVER=$RIG-server
  NAMESPACES=("$CLIENT" "$GATEWAY" "$SERVER")
}

# wire NS DEVICE GATEWAY_DEVICE: one veth pair between NS and the gateway. Offloads are off: a
# frame must reach the gateway as it would come from a wire, with its checksums and its size.
wire() {
  ip link add "$2" netns "$1" type veth peer name "$3" netns "$GATEWAY"
  local end
  for end in "$1 $2" "$GATEWAY $3"; do
    local ns=${end% *} dev=${end#* }
    in_ns "$ns" ethtool -K "$dev" tx off tso off gso off gro off >/dev/null 2>&1 ||
      fail "ethtool cannot switch the offloads of $dev off"
    ip -n "$ns" link set "$dev" up
  done
}

address() {
  ip -n "$1" address add "$3" dev "$2"
  ip -n "$1" address add "$4" dev "$2" nodad
}

# in_ns NS COMMAND...: runs the command in the namespace.
in_ns() {
  local ns=$1
  shift
  ip netns exec "$ns" "$@"
}

# spawn NS LOG COMMAND...: starts a command in the background, in the namespace and in a session of
# its own; sets SPAWNED to its process id, which rig_down will end.
spawn() {
  local ns=$1 log=$2
  shift 2
  setsid ip netns exec "$ns" "$@" </dev/null >"$log" 2>&1 &
  SPAWNED=$!
  until ours "$SPAWNED" || ! kill -0 "$SPAWNED" 2>/dev/null; do sleep 0.02; done
}

# ours PID: true while the process still lives in one of the rig's namespaces.
ours() {
  local ns
  for ns in "${NAMESPACES[@]}"; do
    ip netns pids "$ns" 2>/dev/null | grep -qx "$1" && return 0
  done
  return 1
}

gone() { ! ours "$1"; }

# residents: the processes in the rig's namespaces, which are all descendants of this script.
residents() {
  local ns
  for ns in "${NAMESPACES[@]}"; do
    ip netns pids "$ns" 2>/dev/null || true
  done
}

deserted() { [[ -z $(residents) ]]; }

# rig_down: ends what the rig started, then removes its namespaces and its directory.
rig_down() {
  [[ -n ${RIG:-} ]] || return 0
  local pid ns
  for pid in $(residents); do
    kill "$pid" 2>/dev/null || true
  done
  wait_for 5 deserted || for pid in $(residents); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  for ns in "${NAMESPACES[@]}"; do
    ip netns del "$ns" 2>/dev/null || true
  done
  # A gateway may have reserved hugepages for itself; the machine gets back what it had.
  [[ ! -s $RIG_DIR/hugepages ]] || cat "$RIG_DIR/hugepages" >"$HUGEPAGES" 2>/dev/null || true
  rm -rf "$RIG_DIR"
  RIG=''
}

# rig_trap: takes the rig down however the script ends, and keeps its exit code.
rig_trap() {
  trap 'rig_end $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

rig_end() {
  trap - EXIT
  set +e
  if (($1 != 0 && $1 != SKIPPED)) && [[ -s ${RIG_DIR:-}/gateway.log ]]; then
    printf -- '--- the end of the gateway'\''s log\n' >&2
    tail -n 30 "$RIG_DIR/gateway.log" >&2
  fi
  rig_down
  exit "$1"
}
