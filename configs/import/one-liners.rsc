# Commands as manuals and letters have them, with their prompts and their slips.
/ip address add address=192.168.88.1/24 interface=lan
/ip address add address=203.0.113.2 netmask=255.255.255.0 interface=wan
/ip/route/add dst-address=0.0.0.0/0 gateway=203.0.113.1
[admin@MikroTik] > /ip firewall filter add chain=input protocol=tcp dst-port=8728 limit=5,10
[admin@MikroTik] > /ip firewall filter add chain=input protocol=tcp dst-port=8728 action=drop
[admin@MikroTik] /ip firewall filter> add chain=input protocol=tcp ports=23 drop
[admin@MikroTik] /ip firewall filter> add chain=forward protocol=tcp dst-port=25 action=drop comment="no mail from here
[admin@MikroTik] > ip firewall nat add chain=srcnat out-interface=wan action=masquerade
[admin@MikroTik] > /ip firewall address-list add list=friends src-address=198.51.100.7
/ip firewall filter add chain=input src-address-list=friends comment="friends may come in"
/ip firewall filter add chain=input in-interface=wan connection-state=new action=drop comment=last
/ip firewall filter add chain=input protocol=icmp action=accept place-before=0 comment=ping
/ip firewall filter set [find comment="last"] log=yes log-prefix="late: "
/ip firewall filter set [find comment~"^friends"] action=accept
/ip firewall filter disable [find dst-port=25]
/ip firewall filter remove [find comment="an old one"]
/ip firewall filter set [find dynamic] disabled=yes
/ip firewall filter add chain=forward comment="drop it action=
/ip firewall layer7-protocol add name=rdp regexp="rdpdr.*cliprdr.*rdpsnd"
/ip firewall filter add chain=forward layer7-protocol=rdp action=drop
/ip firewall mangle add chain=prerouting protocol=tcp dst-port=443 action=mark-connection \
    new-connection-mark=web passthrough=yes
/ip firewall raw add chain=prerouting protocol=udp dst-port=1900 in-interface=wan action=drop
/ip firewall connection tracking set tcp-established-timeout=1d00:00:00
/ip firewall service-port set sip disabled=yes
/ip service set api address=10.5.101.0/24
/ip service set telnet disabled=yes
/ip firewall logging set prefix=x
/system script add name=night source="/ip firewall filter disable 0"
/interface pptp-server server set enabled=yes
/ip ipsec policy add src-address=10.0.0.0/8
:foreach i in=[/ip firewall filter find] do={
  /ip firewall filter remove $i
}
/ip firewall filter print
