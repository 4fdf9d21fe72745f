#!/bin/sh
# The guest's first process: kernel modules, the tests, the end.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t devtmpfs dev /dev
mkdir -p /run/modules/lib/modules /run/netns
ln -s "/usr/lib/uml/modules/$(uname -r)" /run/modules/lib/modules/
modprobe -d /run/modules -a sch_netem sch_prio sch_tbf sch_htb sch_fq_codel sch_ingress cls_u32 cls_matchall act_mirred ifb veth tun \
	ip_tables iptable_mangle ip6_tables ip6table_mangle xt_TPROXY xt_socket xt_mark xt_tcpudp
ip link set lo up
cd @WORK@
export @ENV@=@DIR@ GOTRACEBACK=all TMPDIR=/run
@DIR@/payload.test -test.run @PATTERN@ -test.v -test.parallel 1 -test.timeout 7m >@DIR@/out 2>&1
echo $? >@DIR@/status
sync
halt -f
