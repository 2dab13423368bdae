#!/bin/busybox sh
# PID 1 of a guest: makes a node of it, runs the rings, and says on the second serial line how they end.
# What it says itself begins with "@@"; xtask/src/kernel/report.rs reads it.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /run /tmp
$b mount -t proc none /proc
$b mount -t sysfs none /sys
$b mount -t devtmpfs none /dev
$b mount -t tmpfs none /run
$b mount -t tmpfs none /tmp
$b mount -t cgroup2 none /sys/fs/cgroup
$b mount -t securityfs none /sys/kernel/security
exec </dev/null >/dev/ttyS1 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Tests tell namespaces apart as this kernel does, and not also as older ones do.
export MERGER_TEST_GUEST=1

echo "@@ up $($b uname -r) $($b cat /sys/kernel/security/lockdown)"
$b ip link set lo up
for module in /modules/*; do
    $b insmod "$module" || echo "@@ broken: the module $module cannot be loaded"
done
# As container runtimes give them. By the kernel's own hard limit of 4096 the test that opens two
# million files would have to start hundreds of processes for it.
ulimit -Hn 1048576
ulimit -Sn 1024

for ring in netns kernel; do
    echo "@@ begin $ring $("/tests/$ring" --list $($b cat /tests/arguments) | $b grep -c ': test$')"
    # One at a time: a test may fill the tables of files, which the others would then walk through.
    "/tests/$ring" --test-threads=1 --show-output $($b cat /tests/arguments)
    echo "@@ end $ring $?"
done
echo "@@ down"
echo o >/proc/sysrq-trigger
# The last program of all may not end before the machine does.
$b sleep 60
