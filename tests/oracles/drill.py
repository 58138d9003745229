"""Runs the scripts of tests/tcp against this machine's kernel, each in a network namespace of its own, and tells where
it differs: `python3 tests/oracles/drill.py tests/tcp/*.txt`. Needs root, unshare, ip and ethtool. The language is
described in tests/src/drill.rs; `-v` prints what came as a script could expect it."""

import concurrent.futures, errno, fcntl, os, re, select, socket, struct, subprocess, sys, threading, time

HOST, PEER = "192.0.2.1", "192.0.2.2"
HOST_MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
SETUP = f"""
ip link set lo up
ip link add eth0 address {HOST_MAC} type veth peer name peer0 address {PEER_MAC}
sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 net.ipv6.conf.peer0.disable_ipv6=1
ethtool -K eth0 tx off rx off tso off gso off gro off
ethtool -K peer0 tx off rx off tso off gso off gro off
ip link set eth0 up
ip link set peer0 up
ip addr add {HOST}/24 dev eth0
ip neigh add {PEER} lladdr {PEER_MAC} dev eth0 nud permanent
"""
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "A": 256}
ECN = ["noecn", "ect1", "ect0", "ce"]
PEER_ISN = 1000


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


class Fail(Exception):
    pass


class Drill:
    def __init__(self, path):
        self.path = path
        self.host_isn, self.last_ts, self.last_packet = {}, {}, {}
        self.ports, self.server_port = {}, 8080
        self.listener = self.conn = None
        # A socket that a script forgets stays open all the same.
        self.kept = []
        self.queue = []
        self.out = []

    def run(self):
        lines = open(self.path).read().splitlines()
        for line in SETUP.strip().splitlines():
            subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
        self.raw.bind(("peer0", 0x800))
        self.raw.setblocking(False)
        self.now = time.monotonic()
        self.learned = []
        for number, line in enumerate(lines, 1):
            full = line
            line = line.split("#")[0].strip()
            if not line.startswith("?"):
                self.learned.append(full)
            if not line:
                continue
            try:
                if line.startswith("?"):
                    self.learn_all(line)
                    continue
                self.line(line)
            except Fail as e:
                return f"{self.path}:{number}: {line}\n    {e}"
        try:
            self.nothing(0.001)
        except Fail as e:
            return f"{self.path}: at the end: {e}"

    def line(self, line):
        dt = None
        if line.startswith("+"):
            word, line = line.split(None, 1)
            dt = float(word[1:])
        word, _, rest = line.partition(" ")
        if word == ">":
            return self.expect(rest, dt)
        if word == "returns":
            return self.returns(dt or 0)
        if dt is not None:
            self.pump(self.now + dt)
            self.now += dt
        if word == "nothing":
            secs = seconds(rest.removeprefix("for "))
            self.nothing(secs)
            self.now = time.monotonic()
            return
        if word == "sleep":
            self.pump(self.now + seconds(rest))
            self.now += seconds(rest)
            return
        self.now = time.monotonic()
        if word == "<":
            return self.inject(rest)
        if line == "close waits":
            return self.close_waits()
        if word in ("accepted", "connected"):
            return self.establish(word, rest)
        if word == "run":
            r = subprocess.run(rest, shell=True, capture_output=True)
            if r.returncode:
                raise Fail(r.stderr.decode())
            return
        call, _, want = line.partition(" = ")
        got = self.call(call.split())
        if want.strip() != got and (want or got.startswith("E")):
            if "--learn" in sys.argv:
                self.learned[-1] = f"{call} = {got}"
                return
            raise Fail(f"expected {want.strip() or 'success'}, got {got}")

    def establish(self, word, rest):
        opts = split_options(rest)[1] or "mss 1000,sackOK,nop,nop,nop,wscale 7"
        ts = " <nop,nop,TS 100 *>" if "TS" in opts else ""
        if word == "accepted":
            lines = ["listen 5", f"< S 0:0(0) <{opts}>", "> S. 0:0(0) ack 1", f"+0.05 < . 1:1(0) ack 1{ts}", "accept"]
        else:
            opts = opts.replace("TS 100 0", "TS 100 *")
            lines = ["socket", "connect = EINPROGRESS", "> S 0:0(0)", f"+0.05 < S. 0:0(0) ack 1 <{opts}>", "> . 1:1(0) ack 1"]
        for line in lines:
            self.line(line)

    def close_waits(self):
        conn, self.conn, self.returned = self.conn, None, None
        self.kept.remove(conn)

        def close():
            conn.close()
            self.returned = time.monotonic()

        self.closing = threading.Thread(target=close, daemon=True)
        self.closing.start()
        self.closing.join(0.002)
        if self.returned:
            raise Fail("it has returned already")

    def returns(self, dt):
        slack = 0.03 + granularity(dt)
        while not self.returned and time.monotonic() < self.now + dt + slack:
            self.pump(time.monotonic() + 0.002)
        if not self.returned:
            raise Fail("it still waits")
        if self.returned < self.now + dt - slack:
            raise Fail(f"too early: +{self.returned - self.now:.3f} returns")
        self.now = max(self.now, self.returned)

    def call(self, words):
        on = None
        if words[0] == "listener":
            on, words = self.listener, words[1:]
        name, args = words[0], words[1:]
        s = on or self.conn
        try:
            if name == "socket":
                self.conn = tcp_socket()
                self.kept.append(self.conn)
                self.conn.setblocking(False)
            elif name == "listen":
                self.listener = self.listener or tcp_socket()
                self.listener.setblocking(False)
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.listener.bind(("0.0.0.0", 8080))
                self.listener.listen(int(args[0]))
            elif name == "prepare":
                self.listener = tcp_socket()
            elif name == "bind":
                s.bind(("0.0.0.0", int(args[0])))
            elif name == "connect":
                s.connect((PEER, int(args[0]) if args else 8080))
            elif name == "accept":
                self.conn, _ = self.listener.accept()
                self.kept.append(self.conn)
                self.conn.setblocking(False)
            elif name == "send":
                return str(s.send(b"x" * int(args[0])))
            elif name == "recv":
                return str(len(s.recv(int(args[0]))))
            elif name == "shutdown":
                s.shutdown({"read": 0, "write": 1, "both": 2}[args[0]])
            elif name == "close":
                if s is self.listener:
                    self.listener = None
                else:
                    self.conn = None
                s.close()
            elif name == "error":
                e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                return errno.errorcode[e] if e else "0"
            elif name == "poll":
                p = select.poll()
                p.register(s, select.POLLIN | select.POLLOUT)
                ev = dict(p.poll(0)).get(s.fileno(), 0)
                names = [("in", 1), ("out", 4), ("err", 8), ("hup", 16)]
                return ",".join(n for n, b in names if ev & b) or "none"
            elif name == "set":
                v = int(args[1]) if args[1] != "off" else None
                tcp = {"nodelay": 1, "maxseg": 2, "cork": 3, "keepidle": 4, "keepintvl": 5, "keepcnt": 6,
                       "quickack": 12, "usertimeout": 18}
                sol = {"rcvbuf": socket.SO_RCVBUF, "sndbuf": socket.SO_SNDBUF, "keepalive": socket.SO_KEEPALIVE,
                       "reuseaddr": socket.SO_REUSEADDR}
                if args[0] in tcp:
                    s.setsockopt(socket.IPPROTO_TCP, tcp[args[0]], v)
                elif args[0] in sol:
                    s.setsockopt(socket.SOL_SOCKET, sol[args[0]], v)
                elif args[0] == "linger":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", v is not None, v or 0))
                elif args[0] == "pmtudisc":
                    s.setsockopt(0, 10, v)
                else:
                    raise Fail(f"no option {args[0]}")
            else:
                raise Fail(f"no call {name}")
            return "0"
        except OSError as e:
            return errno.errorcode[e.errno]

    # Frames.

    def pump(self, until, stop=False):
        while True:
            try:
                while True:
                    f = self.raw.recvfrom(70000)
                    if f[1][2] == 4:  # outgoing
                        continue
                    self.arrived(f[0][14:])
            except BlockingIOError:
                pass
            if stop and self.queue:
                return
            left = until - time.monotonic()
            if left <= 0:
                return
            select.select([self.raw], [], [], left)

    def arrived(self, p):
        if p[9] != 6 or socket.inet_ntoa(p[12:16]) != HOST:
            return
        total = struct.unpack("!H", p[2:4])[0]
        self.queue.append((time.monotonic(), p[:total]))

    def tag(self, words):
        if words and words[0].startswith("@"):
            return int(words.pop(0)[1:])
        return 0

    def inject(self, text):
        text, opts = split_options(text)
        words = text.split()
        if words[0] == "icmp":
            return self.icmp(words[1:])
        tag, tos = self.tag(words), ecn_of(words) or 0
        flags, (seq, length) = words[0], seq_range(words[1])
        rest = dict(zip(words[2::2], words[3::2]))
        options = self.options(opts, tag)
        sport, dport = self.ports.get(tag, (1234 + tag, self.server_port))
        bits = sum(FLAGS[c] for c in flags)
        ack = (int(rest["ack"]) + self.host_isn.get(tag, 0)) & 0xFFFFFFFF if "ack" in rest else 0
        head = struct.pack("!HHIIBBHHH", sport, dport, (seq + PEER_ISN) & 0xFFFFFFFF, ack,
                           (5 + len(options) // 4) << 4 | bits >> 8, bits & 255, int(rest.get("win", 65535)), 0, 0)
        seg = head + options + b"y" * length
        pseudo = socket.inet_aton(PEER) + socket.inet_aton(HOST) + struct.pack("!HH", 6, len(seg))
        sum_ = checksum(pseudo + seg)
        self.send_ip(6, seg[:16] + struct.pack("!H", sum_) + seg[18:], tos)

    def send_ip(self, protocol, payload, tos=0):
        h = struct.pack("!BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), 0, 0x4000, 64, protocol, 0,
                        socket.inet_aton(PEER), socket.inet_aton(HOST))
        h = h[:10] + struct.pack("!H", checksum(h)) + h[12:]
        mac = lambda m: bytes.fromhex(m.replace(":", ""))
        self.raw.send(mac(HOST_MAC) + mac(PEER_MAC) + b"\x08\0" + h + payload)

    def icmp(self, words):
        kinds = {"net_unreachable": (3, 0), "host_unreachable": (3, 1), "protocol_unreachable": (3, 2),
                 "port_unreachable": (3, 3), "frag_needed": (3, 4), "time_exceeded": (11, 0), "prohibited": (3, 13)}
        t, c = kinds[words[0]]
        info = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        quote = self.last_packet[0][:28]
        if "seq" in words:
            seq = int(words[words.index("seq") + 1]) + self.host_isn[0]
            quote = quote[:24] + struct.pack("!I", seq & 0xFFFFFFFF)
        m = struct.pack("!BBHI", t, c, 0, info) + quote
        self.send_ip(1, m[:2] + struct.pack("!H", checksum(m)) + m[4:])

    def options(self, text, tag):
        out = b""
        for o in filter(None, (text or "").split(",")):
            w = o.split()
            if w[0] == "nop":
                out += b"\1"
            elif w[0] == "eol":
                out += b"\0"
            elif w[0] == "mss":
                out += struct.pack("!BBH", 2, 4, int(w[1]))
            elif w[0] == "wscale":
                out += struct.pack("!BBB", 3, 3, int(w[1]))
            elif w[0] == "sackOK":
                out += b"\4\2"
            elif w[0] == "sack":
                out += struct.pack("!BB", 5, 2 + 8 * (len(w) - 1))
                for b in w[1:]:
                    isn = self.host_isn.get(tag, 0)
                    out += struct.pack("!II", *((int(x) + isn) & 0xFFFFFFFF for x in b.split(":")))
            elif w[0] == "TS":
                ecr = self.last_ts.get(tag, 0) if w[2] == "*" else int(w[2])
                out += struct.pack("!BBII", 8, 10, int(w[1]), ecr)
            else:
                raise Fail(f"no option {o}")
        return out + b"\0" * (-len(out) % 4)

    def nothing(self, secs):
        self.pump(time.monotonic() + secs, stop=True)
        if self.queue:
            raise Fail("unexpected: " + self.show(self.queue[0][1], 0))

    def expect(self, text, dt):
        due = self.now + (dt or 0)
        slack = 0.03 + granularity(dt or 0)
        self.pump(due + slack, stop=True)
        if not self.queue:
            raise Fail("nothing came")
        at, p = self.queue.pop(0)
        text, opts = split_options(text)
        words = text.split()
        tag, ecn = self.tag(words), ecn_of(words)
        dport = struct.unpack("!H", p[22:24])[0]
        self.learn(p, tag)
        shown = self.show(p, tag)
        came = f"+{at - self.now:.3f} > {shown}"
        self.out.append(came)
        if at < due - slack:
            raise Fail(f"too early: {came}")
        f = self.fields(p, tag)
        want = {"flags": words[0], "seq": words[1]}
        want.update(zip(words[2::2], words[3::2]))
        for k, v in want.items():
            if f.get(k, "") != v:
                raise Fail(f"{k}: came {came}")
        if ("ack" in f) != ("ack" in want):
            raise Fail(f"ack: came {came}")
        if opts is not None and not re.fullmatch(re.escape(opts).replace(r"\*", r"\d+"), f["opts"]):
            raise Fail(f"options: came {came}")
        if ecn not in (None, p[1] & 3):
            raise Fail(f"ECN: came {came}")
        if dport != self.ports.get(tag, (1234 + tag, 0))[0]:
            raise Fail(f"port: came {came}")
        self.now = at

    def learn_all(self, line):
        """`? 200ms`: takes whatever comes for so long, as lines of the script."""
        spec = line[1:].split()
        end = self.now + seconds(spec[-1])
        while True:
            self.pump(end, stop=True)
            if not self.queue:
                break
            at, p = self.queue.pop(0)
            dport = struct.unpack("!H", p[22:24])[0]
            tag = dport - 1234 if 0 <= dport - 1234 < 20 else 0
            self.learn(p, tag)
            text = self.show(p, tag)
            if "w" not in spec:
                text = re.sub(r" win \d+", "", text)
            text = re.sub(r"TS \d+", "TS *", text).replace(" <>", "")
            dt = at - self.now
            self.learned.append((f"+{dt:.3f} " if dt > 0.006 else "") + ("> @%d " % tag if tag else "> ") + text)
            self.now = at
        left = end - self.now
        if left >= 0.03:
            self.learned.append(f"nothing for {left * 1000:.0f}ms")
        self.now = end

    def learn(self, p, tag):
        t = p[20:]
        sport, dport, seq, ack, off, bits = struct.unpack("!HHIIBB", t[:14])
        if bits & 2:
            if not bits & 16 or tag not in self.host_isn:
                self.ports[tag] = (dport, sport)
            self.host_isn[tag] = seq
        self.last_packet[tag] = p
        self.last_packet[0] = p
        m = re.search(r"TS (\d+)", show_options(t[20:(off >> 4) * 4], 0))
        if m:
            self.last_ts[tag] = int(m[1])

    def fields(self, p, tag):
        t = p[20:]
        _, _, seq, ack, bits, win = struct.unpack("!HHIIHH", t[:16])
        hlen = (bits >> 12) * 4
        n = len(t) - hlen
        rel = (seq - self.host_isn.get(tag, 0)) & 0xFFFFFFFF
        rel = rel - (1 << 32) if rel >> 31 else rel
        f = {"flags": "".join(c for c in "SFRPUEWA." if bits & FLAGS[c]), "seq": f"{rel}:{rel + n}({n})"}
        if bits & 16:
            a = (ack - PEER_ISN) & 0xFFFFFFFF
            f["ack"] = str(a - (1 << 32) if a >> 31 else a)
        f["win"] = str(win)
        f["opts"] = show_options(t[20:hlen], PEER_ISN)
        return f

    def show(self, p, tag):
        f = self.fields(p, tag)
        ecn = f"[{ECN[p[1] & 3]}] " if p[1] & 3 else ""
        return f"{ecn}{f['flags']} {f['seq']}" + (f" ack {f['ack']}" if "ack" in f else "") + f" win {f['win']} <{f['opts']}>"


def granularity(timer):
    """Of the timer wheel's level for a timer of that length (kernel/time/timer.c), with 250 jiffies a second."""
    g, reach = 0.004, 0.252
    while timer >= reach:
        g, reach = g * 8, reach * 8
    return g


def tcp_socket():
    """A namespace of its own may not change the default to what the machine restricts: so each socket does."""
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    return s


def show_options(o, isn):
    out = []
    while o:
        if o[0] == 1:
            out.append("nop")
            o = o[1:]
            continue
        if o[0] == 0:
            out.append("eol")
            break
        k, n = o[0], o[1]
        b = o[2:n]
        if k == 2:
            out.append(f"mss {int.from_bytes(b)}")
        elif k == 3:
            out.append(f"wscale {b[0]}")
        elif k == 4:
            out.append("sackOK")
        elif k == 5:
            v = [(x - isn) & 0xFFFFFFFF for x in struct.unpack(f"!{len(b) // 4}I", b)]
            out.append("sack " + " ".join(f"{a}:{c}" for a, c in zip(v[::2], v[1::2])))
        elif k == 8:
            out.append("TS %d %d" % struct.unpack("!II", b))
        else:
            out.append(f"{k}")
        o = o[n:]
    return ",".join(out)


def split_options(text):
    m = re.search(r"<(.*)>\s*$", text)
    return (text[:m.start()], m[1]) if m else (text, None)


def ecn_of(words):
    """`[ce]` in front of the flags: the two bits of the IP header."""
    if words and words[0].startswith("["):
        return ECN.index(words.pop(0).strip("[]"))


def seq_range(text):
    m = re.fullmatch(r"(-?\d+):(-?\d+)\((\d+)\)", text)
    return int(m[1]), int(m[3])


def seconds(text):
    n, unit = re.fullmatch(r"([\d.]+)(ms|s)", text.strip()).groups()
    return float(n) / (1000 if unit == "ms" else 1)


def main():
    args = sys.argv[1:]
    if args[0] == "--one":
        d = Drill(args[1])
        failed = d.run()
        if "--learn" in args:
            open(args[1], "w").write("\n".join(d.learned) + "\n")
        if failed:
            print(failed)
        if failed or "-v" in args:
            print("    " + "\n    ".join(d.out))
        sys.exit(bool(failed))
    verbose = [a for a in args if a in ("-v", "--learn")]
    paths = [a for a in args if a not in verbose]
    run = lambda p: subprocess.run(["unshare", "-n", sys.executable, __file__, "--one", p] + verbose, capture_output=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, paths))
    for p, r in zip(paths, results):
        text = (r.stdout + r.stderr).decode()
        if text:
            print(text, end="")
    bad = sum(r.returncode != 0 for r in results)
    print(f"{len(paths)} scripts, {bad} differ")
    sys.exit(bool(bad))


main()
