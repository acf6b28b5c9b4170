# The management port of the API (8728) for those who manage, and for nobody else too often.
/ip address
add address=10.5.101.1/24 interface=lan
add address=203.0.113.2/24 interface=wan
/ip route
add gateway=203.0.113.1
/ip firewall address-list
add list=managers address=10.5.101.0/24 comment="the office"
add list=managers address=10.0.0.5 timeout=1h
/ip firewall filter
add chain=input connection-state=established,related action=accept
add chain=input connection-state=invalid action=drop comment="Drop invalid"
add chain=input protocol=tcp dst-port=8728 src-address-list=managers limit=5,10 action=accept \
    comment="a few new sessions a second"
add chain=input protocol=tcp dst-port=8728 connection-limit=3,32 action=reject \
    reject-with=tcp-reset comment="no more than three of each host"
add chain=input protocol=tcp dst-port=8728 src-address-list=!managers action=add-src-to-address-list \
    address-list=curious address-list-timeout=1d
add chain=input protocol=tcp dst-port=8728 action=drop log=yes log-prefix="API Drop: "
add chain=input protocol=tcp dst-port=8729 src-address=10.5.101.0/24 action=accept
add chain=input protocol=tcp dst-port=8729 action=drop
add chain=input protocol=icmp icmp-options=8:0 packet-size=0-1500 limit=10/1s,20:packet action=accept
/ip service
set api disabled=yes
set api-ssl address=10.5.101.0/24 disabled=yes
