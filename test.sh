#!/usr/bin/env bash
# Runs all tests: ./test.sh [ARGUMENTS OF cargo test]
#
# Some tests ask real tools whether podhop is right. As root on Debian or Ubuntu their packages are installed first;
# elsewhere the missing ones are named, and the tests that want them are skipped. With CI=true nothing is skipped: a
# missing tool is an error.
#
# Without arguments a minute of each fuzz target and the browser's build under Node go before the tests.
#
# ./test.sh --tools only looks after the tools.
set -euo pipefail
cd "$(dirname "$0")"

# What must be there, the Debian package that brings it, the tests that want it.
tools='
tcpdump   tcpdump         captures as tcpdump reads them
tshark    tshark          captures as tshark dissects them
capinfos  tshark          captures as capinfos checks them
editcap   tshark          cluster.pcapng as editcap copies it
mergecap  tshark          cluster.pcapng as mergecap copies it
ip        iproute2        the live kernel, and the texts of its tools
bridge    iproute2        the live kernel, and the texts of its tools
ping      iputils-ping    the live kernel, and the texts of its tools
arping    iputils-arping  the live kernel, and the texts of its tools
sysctl    procps          the live kernel, and the texts of its tools
ethtool   ethtool         the live kernel, and the texts of its tools
conntrack conntrack       the live kernel, and the texts of its tools
ss        iproute2        the texts of its tools
tc        iproute2        the texts of its tools
brctl     bridge-utils    the texts of its tools
netstat   net-tools       the texts of its tools
arp       net-tools       the texts of its tools
route     net-tools       the texts of its tools
nc        netcat-openbsd  the texts of its tools
python3   python3         the judge of the recordings against its original
cc        gcc             capture filters against libpcap
pcap.h    libpcap-dev     capture filters against libpcap
unshare   util-linux      scenarios on the live kernel
pgrep     procps          scenarios on the live kernel
curl      curl            scenarios on the live kernel
nginx     nginx-light     scenarios on the live kernel
dig       bind9-dnsutils  scenarios on the live kernel
iptables  iptables        rules as the real iptables loads and prints them
ipset     ipset           rules as the real iptables loads and prints them
c++       g++             a minute of each fuzz target
git       git             planted bugs still apply
node      nodejs          the build for browsers
wasm32    rustc-web,cargo-web,rust-web-src  the build for browsers
'

has() {
    case $1 in
    # A standard library for the compiler that is there, or Debian's compiler with the source of its own.
    wasm32) [[ -e $(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown || -e /usr/lib/rustlib/src/rust/library ]] ;;
    *.h) [[ -e /usr/include/$1 || -e /usr/local/include/$1 ]] ;;
    # Root's tools lie outside of some users' PATH.
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
    esac
}

# Prints the lines of $tools whose tool is missing.
missing() {
    while read -r tool package wanted_by; do
        [[ -z $tool ]] || has "$tool" || echo "$tool $package $wanted_by"
    done <<<"$tools"
}

install_packages() {
    echo "installing: $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update -q >&2 </dev/null &&
        apt-get -o DPkg::Lock::Timeout=300 install -qy --no-install-recommends "$@" >&2 </dev/null
}

if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install Rust from https://rustup.rs" >&2
    exit 1
fi

absent=$(missing)
if [[ -n $absent && $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    # Less to load than Debian's, but not everywhere to be had.
    has wasm32 || rustup target add wasm32-unknown-unknown </dev/null >&2 || true
    # shellcheck disable=SC2046 # one word a package
    install_packages $(missing | awk '{print $2}' | tr , '\n' | sort -u) || echo "the installation failed" >&2
    absent=$(missing)
fi
if [[ -n $absent ]]; then
    while read -r tool package wanted_by; do
        echo "$tool is missing (Debian: $package): skipped are the tests of $wanted_by" >&2
    done <<<"$absent"
    if [[ ${CI:-} == true ]]; then
        echo "CI=true allows no skipped test" >&2
        exit 1
    fi
fi
if [[ ${1:-} == --tools ]]; then
    exit 0
fi

if [[ $# -eq 0 ]]; then
    # With a seed and a number, so that neither chance nor a faster machine decides; to find more is `cargo xtask fuzz`'s
    # work.
    cargo xtask fuzz --seconds 60 --inputs 25000 --seed 1 </dev/null
    cargo xtask wasm --test </dev/null
fi
# Labs on the real kernel sleep most of their time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
exec cargo test --workspace --no-fail-fast "$@" </dev/null
