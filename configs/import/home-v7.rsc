# 2024-03-09 10:21:44 by RouterOS 7.13.5
# software id = 7HXA-K9QT
#
# model = RB5009UG+S+
/interface bridge
add admin-mac=02:00:5E:10:00:01 auto-mac=no comment=defconf name=bridge
/interface ethernet
set [ find default-name=ether1 ] comment="to the provider"
/interface list
add comment=defconf name=WAN
add comment=defconf name=LAN
/ip pool
add name=dhcp ranges=192.168.88.10-192.168.88.254
/ip dhcp-server
add address-pool=dhcp interface=bridge name=defconf
/interface bridge port
add bridge=bridge comment=defconf interface=ether2
add bridge=bridge comment=defconf interface=ether3
add bridge=bridge comment=defconf interface=ether4
add bridge=bridge comment=defconf interface=sfp-sfpplus1
/interface list member
add comment=defconf interface=bridge list=LAN
add comment=defconf interface=ether1 list=WAN
/ip address
add address=192.168.88.1/24 comment=defconf interface=bridge network=\
    192.168.88.0
add address=203.0.113.2/24 interface=ether1 network=203.0.113.0
/ip dhcp-server network
add address=192.168.88.0/24 comment=defconf dns-server=192.168.88.1 gateway=\
    192.168.88.1
/ip dns
set allow-remote-requests=yes
/ip firewall filter
add action=accept chain=input comment=\
    "answers, and what belongs to a known connection" connection-state=\
    established,related,untracked
add action=drop chain=input comment="what fits no connection" \
    connection-state=invalid
add action=accept chain=input comment="ping" protocol=icmp
add action=accept chain=input comment=\
    "to the own loopback (for the controller of access points)" dst-address=\
    127.0.0.1
add action=drop chain=input comment="nothing else that is not from inside" \
    in-interface-list=!LAN
add action=accept chain=forward comment="in by IPsec policy" ipsec-policy=\
    in,ipsec
add action=accept chain=forward comment="out by IPsec policy" ipsec-policy=\
    out,ipsec
add action=fasttrack-connection chain=forward comment=fasttrack \
    connection-state=established,related hw-offload=yes
add action=accept chain=forward comment="known connections" \
    connection-state=established,related,untracked
add action=drop chain=forward comment="what fits no connection" \
    connection-state=invalid
add action=drop chain=forward comment=\
    "from outside, unless translated to a server" connection-nat-state=\
    !dstnat connection-state=new in-interface-list=WAN
/ip firewall nat
add action=masquerade chain=srcnat comment="out to the provider" \
    ipsec-policy=out,none out-interface-list=WAN
/ip route
add disabled=no distance=1 dst-address=0.0.0.0/0 gateway=203.0.113.1 \
    pref-src="" routing-table=main scope=30 suppress-hw-offload=no \
    target-scope=10
/system clock
set time-zone-name=Europe/Riga
/tool mac-server
set allowed-interface-list=LAN
