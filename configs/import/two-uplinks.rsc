# 2024-05-14 09:12:40 by RouterOS 7.14.3
# software id = TWO0-UPLK
#
/interface ethernet
set [ find default-name=ether1 ] name=isp1
set [ find default-name=ether2 ] name=isp2
set [ find default-name=ether3 ] name=lan
/interface list
add name=WAN
/routing table
add disabled=no fib name=to_isp1
add comment="the radio link" disabled=no fib name=to_isp2
add name="for the phones"
/interface list member
add interface=isp1 list=WAN
add interface=isp2 list=WAN
/ip address
add address=192.168.88.1/24 interface=lan network=192.168.88.0
add address=203.0.113.2/24 interface=isp1 network=203.0.113.0
add address=198.18.2.2/24 interface=isp2 network=198.18.2.0
/ip firewall mangle
add action=accept chain=prerouting dst-address=203.0.113.0/24 in-interface=lan
add action=accept chain=prerouting dst-address=198.18.2.0/24 in-interface=lan
add action=mark-connection chain=prerouting connection-mark=no-mark \
    in-interface=isp1 new-connection-mark=isp1_conn
add action=mark-connection chain=prerouting connection-mark=no-mark \
    in-interface=isp2 new-connection-mark=isp2_conn
add action=mark-connection chain=prerouting connection-mark=no-mark \
    dst-address-type=!local in-interface=lan new-connection-mark=isp1_conn \
    per-connection-classifier=both-addresses:2/0
add action=mark-connection chain=prerouting connection-mark=no-mark \
    dst-address-type=!local in-interface=lan new-connection-mark=isp2_conn \
    per-connection-classifier=both-addresses:2/1
add action=mark-routing chain=prerouting connection-mark=isp1_conn \
    in-interface=lan new-routing-mark=to_isp1
add action=mark-routing chain=prerouting connection-mark=isp2_conn \
    in-interface=lan new-routing-mark=to_isp2
add action=mark-routing chain=output connection-mark=isp1_conn \
    new-routing-mark=to_isp1
add action=mark-routing chain=output connection-mark=isp2_conn \
    new-routing-mark=to_isp2
add action=route chain=prerouting comment="a router of a test" \
    route-dst=198.18.2.77 src-address=192.168.88.66
/ip firewall nat
add action=masquerade chain=srcnat out-interface=isp1
add action=masquerade chain=srcnat out-interface=isp2
/ip route
add check-gateway=ping disabled=no dst-address=0.0.0.0/0 gateway=203.0.113.1 \
    routing-table=to_isp1
add check-gateway=ping disabled=no dst-address=0.0.0.0/0 gateway=\
    198.18.2.1@main routing-table=to_isp2
add disabled=no distance=1 dst-address=0.0.0.0/0 gateway=203.0.113.1
add disabled=no distance=2 dst-address=0.0.0.0/0 gateway=198.18.2.1
add dst-address=10.99.0.0/16 gateway=198.18.2.9 routing-table="for the phones"
/routing rule
add action=lookup-only-in-table comment=phones disabled=no dst-address=\
    10.0.0.0/8 interface=isp1 table="for the phones"
add action=unreachable dst-address=172.16.0.0/12
add action=lookup disabled=yes src-address=192.168.88.9 table=to_isp1
add action=lookup min-prefix=0 table=main
