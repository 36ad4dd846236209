# Makes a container's root of the node's, in a mount namespace of its own, and becomes its program.
# $1: a folder of the container's own; $2: "ro" if its root is not to be written; $3: "privileged" if it may set what the kernel does;
# $4: the user; $5: the folder to begin in; then what is mounted: its source, its target, "ro" or "rw", each; "--"; the program
set -e
folder=$1 root=$2 rights=$3 user=$4 begin=$5
shift 5

mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
[ "$rights" = privileged ] || { mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys; }
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "dev/${stream#*:}"; done

# A target's name is to be read in the new root: /var/run is a link, which from out here leads into the node's own /run. So what is
# mounted waits in a folder of the new root until that is the root.
stage() {
    number=0
    while [ "$1" != -- ]; do
        number=$((number + 1))
        if [ -d "$1" ]; then mkdir ".mounts/$number"; else : >".mounts/$number"; fi
        mount --bind "$1" ".mounts/$number"
        [ "$3" = rw ] || mount -o remount,bind,ro ".mounts/$number"
        shift 3
    done
}
place() {
    number=0
    while [ "$1" != -- ]; do
        number=$((number + 1))
        if [ -d "/.mounts/$number" ]; then
            mkdir -p "$2"
        else
            mkdir -p "$(dirname "$2")"
            # A link of the node's may lead to nothing here.
            if [ -L "$2" ]; then rm "$2"; fi
            [ -e "$2" ] || : >"$2"
        fi
        mount --move "/.mounts/$number" "$2"
        shift 3
    done
}
mkdir -p .mounts/old
stage "$@"
pivot_root . .mounts/old
cd /
place "$@"
umount -l /.mounts/old
rm -r /.mounts
while [ "$1" != -- ]; do shift 3; done
shift
mkdir -p "$begin"
cd "$begin"
[ "$root" != ro ] || mount -o remount,ro /
# Who opens /dev/stdout opens the pipe anew, as that user.
chown "$user" /proc/self/fd/1 /proc/self/fd/2
exec "$@"
