# shellcheck shell=bash
# Real programs whose protocols need a helper, and what stands between them: the gateway or, to
# show that the rig itself is right, the kernel's NAT with the kernel's helpers.
# Sourced after the rest of rig.sh. A script calls peers_through, and peers_again for other helpers.

# Which of the two stands between the peers: `gateway` or `kernel` (--kernel).
ROUTER=gateway

# peers_arguments ARGUMENT...: what every script of this kind takes.
peers_arguments() {
  while (($#)); do
    case $1 in
      --kernel) ROUTER=kernel ;;
      *) fail "unknown argument '$1'; --help lists them" ;;
    esac
    shift
  done
}

# peers_need PACKAGE...: skips the script, with the reason, where a program is not installed.
peers_need() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((!${#missing[@]})) || skip "not installed: ${missing[*]} (scripts/test installs them)"
}

# peers_through SERVICE_PORTS [SED_EXPRESSION...]: starts what stands between, with these helpers.
# The words are the configuration's `service-ports`, as a flow mapping.
peers_through() {
  local services=$1
  shift
  if [[ $ROUTER == kernel ]]; then
    kernel_up "$services"
  else
    gateway_config "s/^services:/service-ports: $services\n&/" "$@"
    gateway_start
  fi
}

# peers_again SERVICE_PORTS: the same with other helpers, for connections that come from now on.
peers_again() {
  if [[ $ROUTER == kernel ]]; then
    kernel_helpers "$1"
    # A connection that has its helper keeps it.
    in_ns "$GATEWAY" conntrack -F 2>/dev/null
  else
    sed -E -i "s/^service-ports: .*/service-ports: $1/" "$CONFIG"
    turnpike reload >"$RIG_DIR/reload.log" 2>&1 || fail "reload: $(<"$RIG_DIR/reload.log")"
  fi
}

# peers_end: the gateway's books add up, and it stops cleanly.
peers_end() {
  [[ $ROUTER == gateway ]] || return 0
  step "Books"
  books_balance
  gateway_stop
}

# ears NS PORTS: from now on counts the datagrams to these ports that a namespace receives.
ears() {
  in_ns "$1" nft -f - <<END
table ip ears
delete table ip ears
table ip ears {
  chain input {
    type filter hook input priority 0
    udp dport $2 counter
  }
}
END
}

# heard NS: how many came.
heard() {
  in_ns "$1" nft -j list table ip ears | jq '[.. | .counter? // empty | .packets] | add'
}

# What the kernel calls its helpers: protocol, port, and the name that nft knows.
KERNEL_HELPERS=(
  'irc tcp 6667 irc' 'pptp tcp 1723 pptp' 'sip udp 5060 sip' 'sip tcp 5060 sip'
  'h323 tcp 1720 Q.931' 'h323 udp 1719 RAS'
)

# kernel_up SERVICE_PORTS: the kernel forwards and translates as configs/quickstart.yaml does.
kernel_up() {
  in_ns "$GATEWAY" sysctl -qw net.ipv4.ip_forward=1
  ip -n "$GATEWAY" address add "$LAN_GATEWAY4/24" dev tp-lan
  ip -n "$GATEWAY" address add "$NAT4/24" dev tp-wan
  in_ns "$GATEWAY" nft -f - <<'END'
table ip rig {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "tp-lan" ct state new accept
  }
  chain srcnat {
    type nat hook postrouting priority 100
    oifname "tp-wan" masquerade
  }
}
END
  kernel_helpers "$1"
}

# kernel_helpers SERVICE_PORTS: the kernel's helpers but for those that are `disabled: yes`.
kernel_helpers() {
  local line service protocol port helper objects='' rules='' number=0
  for line in "${KERNEL_HELPERS[@]}"; do
    read -r service protocol port helper <<<"$line"
    [[ $1 != *"$service: { disabled: yes }"* ]] || continue
    number=$((number + 1))
    objects+="ct helper h$number { type \"$helper\" protocol $protocol; l3proto ip; }"$'\n'
    rules+="$protocol dport $port ct helper set \"h$number\""$'\n'
  done
  in_ns "$GATEWAY" nft -f - <<END
table ip helpers
delete table ip helpers
table ip helpers {
  $objects
  chain assign {
    type filter hook prerouting priority 0
    $rules
  }
}
END
}
