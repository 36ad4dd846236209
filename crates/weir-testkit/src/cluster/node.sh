# Holds the node's mount namespace: what is mounted here nobody else sees, and it is gone with this. It says a line when all is there,
# and ends when nobody holds its standard input any more.
# $1: the folder of what the kubelet and the containers keep
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
# Links to logs, and locks, which have places of their own.
mount -t tmpfs tmpfs /var/log
mount -t tmpfs -o mode=755 tmpfs /run
# A kubelet sets these for the whole machine, unless they are so already: so it reads that they are.
mkdir "$1/kernel" "$1/kubelet" "$1/logs"
while read -r name value; do
    echo "$value" >"$1/kernel/$(basename "$name")"
    mount --bind "$1/kernel/$(basename "$name")" "/proc/sys/$name"
done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
echo in
cat
