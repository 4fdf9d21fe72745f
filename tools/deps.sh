#!/bin/sh
# Installs, from Debian's packages, the programs that the tests use beside Go:
# real clients and servers, and a kernel that has netem. Without them those tests skip and say so.
set -eu
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
# nodejs may already be there from elsewhere; Debian's is only wanted where none is.
want="gcc libc6-dev curl nftables nginx-light haproxy openssl wrk python3 python3-requests kmod iproute2 iperf3"
# Debian has user-mode Linux for these alone.
case "$(dpkg --print-architecture)" in amd64|i386) want="$want user-mode-linux" ;; esac
command -v node >/dev/null 2>&1 || want="$want nodejs"
command -v javac >/dev/null 2>&1 || want="$want default-jdk-headless"
# Freshly installed, nginx and HAProxy must not start servers of their own.
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $want
