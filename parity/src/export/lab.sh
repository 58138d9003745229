#!/bin/bash
# @TITLE@
#
# The scenario @NAME@ on the kernel of this machine: the same namespaces, commands and programs. Made by `podhop export`.
#
#   lab.sh [FOLDER]          builds it, captures at all interfaces, runs the traffic, takes it down; FOLDER is new
#   lab.sh --up              builds it, to look around in
#   lab.sh --exec NAMESPACE COMMAND...
#   lab.sh --teardown        takes it down
#
# All of it lives in a mount, a process and a network namespace of its own: nothing outside is touched, and when the script
# ends, whether well or not, the kernel takes everything down. It has to be run as root, and needs:
NEEDS="@NEEDS@"

set -u
export LC_ALL=C
NAME=@NAME@
# What is up stands here: the process that holds it.
UP=/run/podhop-$NAME
# All programs run on one CPU, so that the order of what happens is the kernel's own and not a race.
CPU=${PODHOP_CPU:-$(($(nproc) - 1))}
# What the lab calls the namespaces.
declare -A NETNS=(
@NETNS@)

fail() {
  echo "$NAME: $*" >&2
  exit 2
}

# Runs a command in a namespace, with the files of /etc that are its own.
in_ns() {
  local ns=${NETNS[$1]-$1}
  shift
  if [ ! -d "/run/lab/etc/$ns" ]; then
    ip netns exec "$ns" taskset -c "$CPU" "$@"
    return
  fi
  ip netns exec "$ns" taskset -c "$CPU" bash -c '
    for file in "$0"/*; do mount --bind "$file" "/etc/${file##*/}"; done
    exec "$@"' "/run/lab/etc/$ns" "$@"
}

# Makes a namespace, quiet but for what it is asked for.
netns() {
  ip netns add "$1" || fail "$1 cannot be made"
  in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
    net.ipv4.igmp_link_local_mcast_reports=0 || fail "$1 cannot be quieted"
}

# A link: a veth pair.
veth() { in_ns "$1" ip link add "$2" type veth peer name "$4" netns "${NETNS[$3]-$3}" || fail "no link between $1 and $3"; }

# The commands on standard input, in a namespace; the first that fails ends it all.
setup() {
  { echo 'trap '\''echo "$BASH_COMMAND: it failed" >&2; exit 1'\'' ERR'; cat; } | in_ns "$1" bash -E >/dev/null ||
    fail "the set-up of $1 failed"
}

# A device as the scenario has it: its address, and checksums and segments that are not left to others.
device() {
  # A bridge that nobody gave an address has that of a port.
  [ "$(in_ns "$1" cat "/sys/class/net/$2/address")" = "$3" ] || in_ns "$1" ip link set dev "$2" address "$3" ||
    fail "$2 cannot have its address"
  [ -z "$4" ] || in_ns "$1" ethtool -K "$2" $4 >/dev/null || fail "$2 cannot be without $4"
}

# glibc asks for IPv6 addresses where there is one besides ::1, as pods have. This one is nowhere on the wire.
ipv6() { in_ns "$1" sysctl -qw net.ipv6.conf.lo.disable_ipv6=0 && in_ns "$1" ip addr add fd00::1/128 dev lo; }

# Settings that machines have in different ways.
settings() {
  local ns=$1
  shift
  in_ns "$ns" sysctl -qw "$@" || fail "$ns cannot be set"
  # Where cubic is not for everybody: what is short does not tell one from the other.
  in_ns "$ns" sysctl -qw net.ipv4.tcp_congestion_control=cubic 2>/dev/null ||
    in_ns "$ns" sysctl -qw net.ipv4.tcp_congestion_control=reno
}

# A file of a namespace, from standard input: where, and when it was changed last.
file() {
  local at=/run/lab/files/${NETNS[$1]-$1}$2
  mkdir -p "${at%/*}"
  cat >"$at"
  touch -d "@$3" "$at"
  case $2 in
  /etc/resolv.conf | /etc/hosts)
    mkdir -p "/run/lab/etc/${NETNS[$1]-$1}"
    cp -p "$at" "/run/lab/etc/${NETNS[$1]-$1}/"
    ;;
  esac
}

# Starts a server.
serve() {
  local ns=$1
  shift
  in_ns "$ns" "$@" >>/run/lab/servers.log 2>&1 &
}

# As serve, for a program that would ask name servers for this machine's own name.
serve_nameless() {
  local ns=$1
  shift
  echo 'hosts: files' >/run/lab/nsswitch.conf
  serve "$ns" bash -c '
    [ ! -e /etc/nsswitch.conf ] || mount --bind /run/lab/nsswitch.conf /etc/nsswitch.conf
    exec "$@"' nameless "$@"
}

nginx_conf() {
  local base=/run/lab/nginx/${NETNS[$1]-$1}-$2
  mkdir -p "$base"
  cat >"$base/conf" <<CONF
user root;
worker_processes 1;
pid $base/pid;
error_log $base/log;
events { worker_connections 64; }
http {
  access_log off;
  server_tokens on;
  client_body_temp_path $base/1; proxy_temp_path $base/2; fastcgi_temp_path $base/3; uwsgi_temp_path $base/4;
  scgi_temp_path $base/5;
  server { listen $2; root /run/lab/files/${NETNS[$1]-$1}$3; }
}
CONF
  echo "$base/conf"
}

# Waits until so many sockets of a namespace are bound.
listening() {
  local n
  for n in {1..400}; do
    [ "$(in_ns "$1" ss -Hlntu | wc -l)" -ge "$2" ] && return
    sleep 0.02
  done
  cat /run/lab/servers.log >&2
  fail "the servers of $1 do not start"
}

# What happens at all interfaces of a namespace.
capture() {
  local file=${1//\//_}
  ip netns exec "${NETNS[$1]-$1}" tcpdump -npU --immediate-mode -Z root -s 9000 --time-stamp-precision=nano -y LINUX_SLL2 \
    -i any -B 8192 -w "$OUT/captures/$file.any.pcap" "not ip6 and (less 27 or not igmp)" >/dev/null 2>"/run/lab/capture-$file" &
  CAPTURES+=($!)
}

captures() {
  local n=0 ns
  for ns in "$@"; do capture "$ns"; done
  for ns in "$@"; do
    until grep -q "listening on" "/run/lab/capture-${ns//\//_}" 2>/dev/null; do
      ((n++ < 400)) || fail "tcpdump does not start: $(cat "/run/lab/capture-${ns//\//_}")"
      sleep 0.02
    done
  done
  sleep 0.1
}

# The numbers of the interfaces.
interfaces() {
  local ns
  for ns in "$@"; do
    in_ns "$ns" ip -o link | sed -E "s%^([0-9]+): ([^:@]+).*%${ns//\//_} \1 \2%"
  done >>"$OUT/captures/ifmap"
}

# Until so many microseconds after the traffic's start.
at() {
  local left=$((START + $1 - ${EPOCHREALTIME/./}))
  ((left <= 0)) || sleep "$((left / 1000000)).$(printf %06d $((left % 1000000)))"
}

# Command number $1, in a namespace; what it prints and how it ends stands in $OUT/commands.
run() {
  local n=$OUT/commands/$1 ns=$2
  shift 2
  in_ns "$ns" "$@" >"$n.out" 2>"$n.err"
  echo $? >"$n.exit"
}

# The same in the background.
start() {
  run "$@" </dev/stdin &
  STARTED+=($!)
}

# The same, of a program that goes on until it is interrupted.
start_endless() {
  start "$@"
  ENDLESS+=("${STARTED[-1]}")
  unset 'STARTED[-1]'
}

# A command that is started so often, in such intervals (microseconds).
again() (
  n=$1 every=$2 count=$3 ns=$4 first=$((${EPOCHREALTIME/./} - START))
  shift 4
  for ((k = 0; k < count; k++)); do
    at $((first + k * every))
    run "$n.$k" "$ns" "$@" &
  done
  wait
)

# The same in the background.
start_again() {
  again "$@" &
  STARTED+=($!)
}

# What is there when all is over.
state() {
  local ns out
  for ns in "$@"; do
    out=$OUT/state/${ns//\//_}
    mkdir -p "$out"
@STATE@  done
}
