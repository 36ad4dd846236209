# What waits in a Pod's namespaces, first of its processes: with it they all end. It says a line when it is there, and ends when nobody
# holds its standard input any more.
# $1: the Pod's host name
hostname "$1" && ip link set lo up && echo in && cat
