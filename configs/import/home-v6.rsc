# mar/09/2019 10:21:44 by RouterOS 6.44.6
# software id = 2B4C-11QX
#
/interface bridge
add fast-forward=no name=bridge-local
/interface ethernet
set [ find default-name=ether1 ] mac-address=02:00:5E:10:00:11 name=\
    ether1-gateway
set [ find default-name=ether2 ] name=ether2-master
/interface list
add exclude=dynamic name=discover
add name=mactel
/interface bridge port
add bridge=bridge-local interface=ether2-master
add bridge=bridge-local interface=ether3
add bridge=bridge-local interface=wlan1
/ip firewall connection tracking
set enabled=yes icmp-timeout=15s tcp-established-timeout=12:00:00 \
    udp-stream-timeout=00:02:00
/interface list member
add interface=bridge-local list=discover
add interface=bridge-local list=mactel
/ip address
add address=192.168.88.1/24 comment="default configuration" interface=\
    bridge-local network=192.168.88.0
add address=203.0.113.2/24 interface=ether1-gateway network=203.0.113.0
/ip dhcp-client
add comment="default configuration" dhcp-options=hostname,clientid disabled=\
    yes interface=ether1-gateway
/ip firewall filter
add action=passthrough chain=unused-hs-chain comment=\
    "place hotspot rules here" disabled=yes
add action=accept chain=input protocol=icmp
add action=accept chain=input connection-state=established,related
add action=drop chain=input comment="the rest from outside" in-interface=\
    ether1-gateway log=no log-prefix=""
add action=fasttrack-connection chain=forward connection-state=\
    established,related
add action=accept chain=forward connection-state=established,related
add action=drop chain=forward connection-state=invalid
add action=drop chain=forward comment="new, from outside, not translated" \
    connection-nat-state=!dstnat connection-state=new in-interface=\
    ether1-gateway
/ip firewall nat
add action=masquerade chain=srcnat out-interface=ether1-gateway
add action=dst-nat chain=dstnat comment="camera \"north\"" dst-address=\
    203.0.113.2 dst-port=8080 protocol=tcp to-addresses=192.168.88.20 \
    to-ports=80
/ip firewall service-port
set irc disabled=yes
/ip route
add distance=1 gateway=203.0.113.1
/ip service
set telnet disabled=yes
set ftp disabled=yes
set ssh address=192.168.88.0/24 port=2200
set api disabled=yes
/system identity
set name=home
