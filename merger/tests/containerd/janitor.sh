# Makes the mount and network namespaces of a node, and holds them for as long as the test runs that has
# begun it. Then it ends and removes everything that was in there, whatever has ended the test: the kernel
# closes standard input for one that is killed.
#
# $1: "outside" or "inside". $2: the directory of the node. $3: what the uids of its pods begin with.
# Standard input: "start" and "kill", one a line, are for containerd. Standard output: the process that
# holds the namespaces.

directory=$2
uids=$3

if [ "$1" = outside ]; then
    unshare --mount --net --propagation private sh "$0" inside "$directory" "$uids"
    # What was mounted there was so in the other namespace alone.
    exec rm -rf "$directory"
fi

# What containerd and CNI leave below /run is gone with the namespace.
mount -t tmpfs none /run || exit 1
ip link set lo up || exit 1
echo $$
while read -r order; do
    case $order in
        start) containerd --config "$directory/config.toml" >> "$directory/containerd.log" 2>&1 & ;;
        kill) kill -9 $! && wait $! ;;
    esac
done 2> /dev/null

here=$(readlink /proc/$$/ns/mnt)
# The processes of the node itself: containerd, and a shim for each pod.
for ns in /proc/[0-9]*/ns/mnt; do
    pid=${ns#/proc/}
    pid=${pid%%/*}
    if [ "$pid" != $$ ] && [ "$(readlink "$ns")" = "$here" ]; then
        kill -9 "$pid"
    fi
done 2> /dev/null
# Those of the pods, by their cgroups. A process that was killed stays in its own for a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    cgroups=$(find /sys/fs/cgroup -depth -type d -path "*/kubepods/burstable/pod$uids*")
    [ -z "$cgroups" ] && break
    for cgroup in $cgroups; do
        while read -r pid; do kill -9 "$pid"; done < "$cgroup/cgroup.procs"
        rmdir "$cgroup"
    done
    sleep 0.2
done 2> /dev/null
# These stay where others have pods there.
for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
    rmdir "$root/kubepods/burstable" "$root/kubepods"
done 2> /dev/null
