# Doors that open to a knock, and to nobody who tries too often.
/ip address
add address=203.0.113.2/24 interface=wan
add address=192.168.88.1/24 interface=lan
/ip route
add gateway=203.0.113.1
/ip firewall filter
add chain=input connection-state=established,related action=accept
# Three ports in this order, each within ten seconds.
add chain=input protocol=tcp dst-port=7000 in-interface=wan action=add-src-to-address-list \
    address-list=knock1 address-list-timeout=10s comment="first knock"
add chain=input protocol=tcp dst-port=8000 in-interface=wan src-address-list=knock1 \
    action=add-src-to-address-list address-list=knock2 address-list-timeout=10s comment="second knock"
add chain=input protocol=tcp dst-port=9000 in-interface=wan src-address-list=knock2 \
    action=add-src-to-address-list address-list=opened address-list-timeout=1h comment="third knock"
add chain=input protocol=tcp dst-port=8291 src-address-list=opened action=accept
# Four new sessions of SSH within a minute are too many for ten days.
add chain=input protocol=tcp dst-port=22 src-address-list=ssh_blacklist action=drop \
    comment="brute force" disabled=no
add chain=input protocol=tcp dst-port=22 connection-state=new src-address-list=ssh_stage3 \
    action=add-src-to-address-list address-list=ssh_blacklist address-list-timeout=1w3d
add chain=input protocol=tcp dst-port=22 connection-state=new src-address-list=ssh_stage2 \
    action=add-src-to-address-list address-list=ssh_stage3 address-list-timeout=1m
add chain=input protocol=tcp dst-port=22 connection-state=new src-address-list=ssh_stage1 \
    action=add-src-to-address-list address-list=ssh_stage2 address-list-timeout=1m
add chain=input protocol=tcp dst-port=22 connection-state=new action=add-src-to-address-list \
    address-list=ssh_stage1 address-list-timeout=1m
add chain=input protocol=tcp dst-port=22 action=accept
add chain=input protocol=tcp psd=21,3s,3,1 action=add-src-to-address-list address-list=scanners \
    address-list-timeout=2w comment="port scan"
add chain=input in-interface=lan action=accept
add chain=input action=drop
