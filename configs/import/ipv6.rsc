# 2024-03-09 10:21:44 by RouterOS 7.13.5
/interface bridge
add name=bridge
/interface list
add name=LAN
add name=WAN
/interface list member
add interface=bridge list=LAN
add interface=ether1 list=WAN
/ipv6 address
add address=2001:db8:88::1 advertise=no interface=bridge
add address=2001:db8:113::2/64 interface=ether1
add from-pool=delegated interface=bridge
/ipv6 dhcp-client
add interface=ether1 pool-name=delegated request=prefix
/ipv6 firewall address-list
add address=::/128 comment="nobody" list=bad_ipv6
add address=::1/128 list=bad_ipv6
add address=fec0::/10 list=bad_ipv6
add address=::ffff:0.0.0.0/96 list=bad_ipv6
add address=100::/64 list=bad_ipv6
add address=2001:db8:bad::/48 list=bad_ipv6
/ipv6 firewall filter
add action=accept chain=input connection-state=established,related,untracked
add action=drop chain=input connection-state=invalid
add action=accept chain=input comment="ICMPv6 is needed" protocol=icmpv6
add action=accept chain=input comment="traceroute" dst-port=33434-33534 \
    protocol=udp
add action=accept chain=input comment="answers about prefixes" dst-port=546 \
    protocol=udp src-address=fe80::/10
add action=accept chain=input dst-port=500,4500 protocol=udp
add action=accept chain=input protocol=ipsec-ah
add action=accept chain=input protocol=ipsec-esp
add action=drop chain=input comment="all else that is not from inside" \
    in-interface-list=!LAN
add action=accept chain=forward connection-state=established,related,untracked
add action=drop chain=forward connection-state=invalid
add action=drop chain=forward comment="nobody can be from there" \
    src-address-list=bad_ipv6
add action=drop chain=forward dst-address-list=bad_ipv6
add action=drop chain=forward comment="RFC 4890: a hop limit of 1" \
    hop-limit=equal:1 protocol=icmpv6
add action=accept chain=forward protocol=icmpv6
add action=accept chain=forward comment="HIP" protocol=139
add action=accept chain=forward dst-port=500,4500 protocol=udp
add action=accept chain=forward protocol=ipsec-ah
add action=accept chain=forward protocol=ipsec-esp
add action=drop chain=forward comment="all else that is not from inside" \
    in-interface-list=!LAN
/ipv6 firewall nat
add action=dst-nat chain=dstnat dst-address=2001:db8:113::2/128 dst-port=443 \
    protocol=tcp to-address=2001:db8:88::80/128
/ipv6 nd
set [ find default=yes ] advertise-dns=no
/ipv6 route
add dst-address=::/0 gateway=fe80::1%ether1
