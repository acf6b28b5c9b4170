# 2024-05-02 08:00:00 by RouterOS 7.14.3
# software id = 9K2M-XW31
#
# A branch office: staff and guests by VLAN, a DMZ with a web and a mail server, a second provider.
/interface ethernet
set [ find default-name=ether1 ] comment="provider A" name=wan-a
set [ find default-name=ether2 ] comment="provider B" name=wan-b
set [ find default-name=ether3 ] name=inside
set [ find default-name=ether4 ] mtu=1400 name=dmz
/interface vlan
add comment="desks and telephones" interface=inside name=staff vlan-id=10
add interface=inside name=guests vlan-id=20
/interface list
add name=WAN
add name=TRUSTED
add include=TRUSTED name=INSIDE
/interface list member
add interface=wan-a list=WAN
add interface=wan-b list=WAN
add interface=staff list=TRUSTED
add interface=guests list=INSIDE
/ip address
add address=203.0.113.2/29 interface=wan-a network=203.0.113.0
add address=203.0.113.3/29 interface=wan-a network=203.0.113.0
add address=198.51.100.130/25 interface=wan-b network=198.51.100.128
add address=10.10.10.1/24 interface=staff network=10.10.10.0
add address=10.10.20.1/24 interface=guests network=10.10.20.0
add address=10.10.30.1/24 interface=dmz network=10.10.30.0
add address=10.10.40.1/24 disabled=yes interface=dmz network=10.10.40.0
/ip firewall address-list
add address=10.10.10.5 comment="administrator's desk" list=management
add address=10.10.10.16-10.10.10.19 list=management
add address=192.0.2.0/24 comment="head office" list=management
add address=10.10.10.99 disabled=yes list=management
add address=0.0.0.0/8 list=bogons
add address=127.0.0.0/8 list=bogons
add address=169.254.0.0/16 list=bogons
add address=224.0.0.0/4 list=bogons
/ip firewall filter
add action=accept chain=input connection-state=established,related,untracked
add action=drop chain=input connection-state=invalid
add action=accept chain=input comment="management, over SSH alone" dst-port=22 \
    protocol=tcp src-address-list=management
add action=jump chain=input comment="names and time for those inside" \
    in-interface-list=INSIDE jump-target=from-inside
add action=drop chain=input comment="all else" log=yes log-prefix="input: "
add action=accept chain=from-inside dst-port=53,123 protocol=udp
add action=accept chain=from-inside dst-port=53 protocol=tcp
add action=accept chain=from-inside icmp-options=8:0 protocol=icmp
add action=fasttrack-connection chain=forward connection-state=\
    established,related
add action=accept chain=forward connection-state=established,related,untracked
add action=drop chain=forward connection-state=invalid
add action=accept chain=forward comment="what dstnat lets in" \
    connection-nat-state=dstnat in-interface-list=WAN
add action=reject chain=forward comment="guests reach the Internet only" \
    in-interface=guests out-interface-list=!WAN reject-with=\
    icmp-admin-prohibited
add action=accept chain=forward comment="staff, everywhere" in-interface-list=\
    TRUSTED
add action=accept chain=forward in-interface=guests out-interface-list=WAN
add action=accept chain=forward comment="mail goes out" out-interface-list=WAN \
    protocol=tcp src-address=10.10.30.25 dst-port=25
add action=drop chain=forward comment="all else"
/ip firewall nat
add action=dst-nat chain=dstnat comment="web server" dst-address=203.0.113.2 \
    dst-port=80,443 protocol=tcp to-addresses=10.10.30.80
add action=dst-nat chain=dstnat comment="mail server" dst-address=203.0.113.3 \
    dst-port=25 protocol=tcp to-addresses=10.10.30.25 to-ports=2525
add action=redirect chain=dstnat comment="guests ask our name server" dst-port=\
    53 in-interface=guests protocol=udp to-ports=53
add action=src-nat chain=srcnat comment="mail has its own address" \
    out-interface=wan-a src-address=10.10.30.25 to-addresses=203.0.113.3
add action=masquerade chain=srcnat out-interface-list=WAN
/ip firewall raw
add action=drop chain=prerouting comment="nobody can be from there" \
    in-interface-list=WAN src-address-list=bogons
add action=notrack chain=prerouting comment="a monitor that pings all day" \
    dst-address=10.10.30.0/24 protocol=icmp src-address=10.10.10.5
/ip route
add check-gateway=ping distance=2 dst-address=0.0.0.0/0 gateway=198.51.100.129
add check-gateway=ping distance=1 dst-address=0.0.0.0/0 gateway=203.0.113.1
add blackhole dst-address=10.0.0.0/8
add dst-address=192.0.2.0/24 gateway=198.51.100.129
/ip service
set www disabled=yes
set api address=10.10.10.0/24
