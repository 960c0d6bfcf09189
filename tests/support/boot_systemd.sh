#!/bin/sh
# Boots systemd as the first process of namespaces of its own, on a root that has this machine's programs (read-only)
# and an /etc and a /var of its own; ends when systemd does. Root only, as the first process of
#
#   unshare --pid --fork --kill-child --mount --cgroup --uts --ipc sh boot_systemd.sh ROOT SHARE UNIT
#
# ROOT: a directory with etc/ and what else the machine has; SHARE: a directory that it sees as /share; UNIT: what is
# started.
set -eu
root=$1 share=$2 unit=$3

# Nothing that is mounted here is seen outside.
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mkdir -p usr proc sys dev run tmp var share old
for directory in bin sbin lib lib64; do
  [ ! -e "/$directory" ] || ln -sfn "usr/$directory" "$directory"
done
mount --rbind /usr usr
mount -o remount,bind,ro usr
[ ! -e "$root/amesh" ] || mount --bind "$root/amesh" usr/local/bin
mount --bind "$share" share
mount -t proc proc proc
# These settings are the whole machine's: systemd must not apply its own to them.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do
  : > "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
pivot_root . old
cd /
umount -l /old
# As systemd wants it of a container: what one of its processes mounts for a service, the service sees.
mount --make-rshared /
exec env -i container=test PATH=/usr/bin:/usr/sbin \
  /usr/lib/systemd/systemd --system "--unit=$unit" --log-target=kmsg --show-status=no
