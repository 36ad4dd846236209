# Lays the cable from a Pod to the bridge. A Pod sees nothing but the node at its end, so that all it says goes over the node, and what
# is translated on the way there is translated back.
# $1: the interface here; $2: a process in the Pod; $3: its address; $4: the bridge; $5: the node's address
set -e
ip link add name "$1" type veth peer name eth0 netns "$2"
ip link set dev "$1" master "$4" up
ip link set dev "$1" type bridge_slave hairpin on
exec nsenter --net="/proc/$2/ns/net" -- sh -ec '
    ip address add "$1/32" dev eth0
    ip link set eth0 up
    ip route add "$2" dev eth0 scope link
    ip route add default via "$2"
' sh "$3" "$5"
