"""podhop's own programs on the real kernel.

`script`: the calls of a script, with the same lines about what came of them. They stand on the standard input, each a
list in JSON: what errors call it, the call, its arguments. `udpecho PORT`, `tcpecho PORT` and `slowd PORT` are the
servers of these names, and `tcpproxy PORT[/SOURCE]...`. `coredns TABLE` answers what a file says: lists of answers by question, in turn.
"""
import asyncio
import errno
import json
import os
import socket
import struct
import sys
import threading
import time

LEVELS = {"ip": socket.SOL_IP, "socket": socket.SOL_SOCKET, "tcp": socket.IPPROTO_TCP}
KINDS = {"udp": (socket.AF_INET, socket.SOCK_DGRAM), "tcp": (socket.AF_INET, socket.SOCK_STREAM),
         "packet": (socket.AF_PACKET, socket.SOCK_RAW)}
OPTIONS = {
    "ip": {"ttl": 2, "tos": 1, "recverr": 11, "pmtudisc": 10, "transparent": 19},
    "socket": {"broadcast": 6, "rcvbuf": 8, "sndbuf": 7, "reuseaddr": 2, "dontroute": 5, "keepalive": 9, "linger": 13,
               "mark": 36},
    "tcp": {"nodelay": 1, "maxseg": 2, "cork": 3, "keepidle": 4, "keepintvl": 5, "keepcnt": 6, "quickack": 12,
            "user_timeout": 18},
}
VALUES = {
    "dont": 0, "want": 1, "do": 2, "probe": 3, "interface": 4, "omit": 5,
    "on": 1, "off": 0, "true": 1, "false": 0,
}


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def echo(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    while True:
        try:
            data, peer = sock.recvfrom(65535)
            sock.sendto(data, peer)
        except OSError:
            pass


def stream(port, serve):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(16)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def send_back(sock):
    try:
        while data := sock.recv(65536):
            sock.sendall(data)
    except OSError:
        pass
    sock.close()


def slow(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for line in sock.makefile():
            delay, size = line.split()
            time.sleep(float(delay))
            sock.send(b"x" * int(size))
    except OSError:
        pass
    sock.close()


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    try:
        writer.write_eof()
    except OSError:
        pass


def carry(source):
    async def handler(reader, writer):
        original = writer.get_extra_info("socket").getsockopt(socket.SOL_IP, 80, 16)
        dst, port = socket.inet_ntoa(original[4:8]), int.from_bytes(original[2:4])
        first = await reader.read(65536)
        try:
            if not first:
                return
            local = (source, 0) if source else None
            up_reader, up_writer = await asyncio.open_connection(dst, port, local_addr=local)
            up_writer.write(first)
            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
            up_writer.close()
        except OSError:
            pass
        finally:
            writer.close()

    return handler


async def proxies(ports):
    servers = []
    for port, _, source in (port.partition("/") for port in ports):
        servers.append(await asyncio.start_server(carry(source), "0.0.0.0", int(port)))
    await asyncio.gather(*(server.serve_forever() for server in servers))


class Script:
    """The sockets by name; the one in use; the one that listened last."""

    def __init__(self):
        self.sockets = {}
        self.name = ""
        self.listener = None

    def step(self, call, *args):
        if call == "socket":
            self.hold(socket.socket(*KINDS[args[0]]), args[1])
        elif call == "use":
            self.name = args[0]
        elif call == "sleep":
            time.sleep(args[0])
        elif call == "accept":
            self.accept(*args)
        else:
            sock = self.sockets.get(self.name)
            if sock is None:
                raise OSError(errno.EBADF, "")
            getattr(self, call)(sock, *args)

    def say(self, text):
        print(f"{self.name}: {text}" if self.name else text)

    def hold(self, sock, name):
        old = self.sockets.get(name)
        self.sockets[name] = sock
        self.name = name
        if old is not None and old is not self.listener:
            old.close()

    def accept(self, timeout, name):
        sock = self.listener or self.sockets[self.name]
        sock.settimeout(timeout)
        try:
            connection, peer = sock.accept()
            self.hold(connection, name)
            self.say(f"accept: from {peer[0]}:{peer[1]}")
        except TimeoutError:
            self.say("accept: timed out")

    def setsockopt(self, sock, level, name, value):
        if name == "bindtodevice":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, value.encode())
        elif name == "linger":
            value = struct.pack("ii", 0, 0) if value == "off" else struct.pack("ii", 1, int(value))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)
        else:
            value = VALUES[value] if value in VALUES else int(value)
            sock.setsockopt(LEVELS[level], OPTIONS[level][name], value)

    def settimeout(self, sock, seconds):
        sock.settimeout(seconds)

    def bind(self, sock, to):
        sock.bind((to, 0) if sock.family == socket.AF_PACKET else address(to))

    def connect(self, sock, to):
        try:
            sock.connect(address(to))
        except TimeoutError as e:
            if e.errno is not None:
                raise
            self.say(f"connect {to}: timed out")

    def listen(self, sock, backlog):
        sock.listen(backlog)
        self.listener = sock

    def send(self, sock, start, size, byte, end, to):
        data = bytes.fromhex(start) + bytes([byte]) * size + bytes.fromhex(end)
        try:
            self.send_all(sock, data, to)
        except TimeoutError as e:
            if e.errno is not None:
                raise
            self.say("send: timed out")

    def send_all(self, sock, data, to):
        if to is not None:
            sock.sendto(data, address(to))
        elif sock.type == socket.SOCK_STREAM:
            sock.sendall(data)
        else:
            sock.send(data)

    def recv(self, sock, timeout, size, total, errqueue):
        """`total` is none for one call, zero for all there is."""
        if errqueue:
            self.error(sock, size)
            return
        before = sock.gettimeout()
        if timeout is not None:
            sock.settimeout(timeout)
        received, whence = 0, ""
        try:
            while True:
                data, peer = sock.recvfrom(size)
                received += len(data)
                whence = f" from {peer[0]}:{peer[1]}" if peer else ""
                if not data or total is None or 0 < total <= received:
                    break
            self.say(f"recv: {received} bytes{whence}")
        except OSError as e:
            if received:
                self.say(f"recv: {received} bytes")
            if not isinstance(e, TimeoutError) or e.errno is not None:
                raise
            self.say("recv: timed out")
        finally:
            if timeout is not None and sock.fileno() >= 0:
                sock.settimeout(before)

    def error(self, sock, size):
        """An error of IP_RECVERR: sock_extended_err, and who sent it."""
        data, control, _, _ = sock.recvmsg(size, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        number, origin, kind, code, _, info, _ = struct.unpack("IBBBBII", control[0][2][:16])
        local = origin == 1
        whence = "local" if local else f"from {socket.inet_ntoa(control[0][2][20:24])}"
        name = errno.errorcode[number]
        self.say(f"recv errqueue: {name} {whence} type {kind} code {code} info {info} data {len(data)}")

    def shutdown(self, sock, how):
        sock.shutdown({"read": socket.SHUT_RD, "write": socket.SHUT_WR, "both": socket.SHUT_RDWR}[how])

    def close(self, sock):
        sock.close()
        del self.sockets[self.name]


class Names:
    """A DNS server that knows questions, with their bytes, and the answers of another."""

    def __init__(self, path):
        with open(path) as table:
            self.table = {bytes.fromhex(q): [bytes.fromhex(a) for a in answers] for q, answers in json.load(table).items()}

    def answer(self, query):
        """The number of the query, then what is known; nothing for what is not."""
        end = 12
        while end < len(query) and query[end]:
            end += query[end] + 1
        known = self.table.get(query[12:end + 5].lower())
        if not known:
            return None
        known.append(known.pop(0))
        answer = query[:2] + known[-1]
        # A client's cookie (RFC 7873) comes back as it was sent.
        head = bytes([0, 10, 0, 8])
        sent, back = query.find(head, end), answer.find(head, end)
        if sent > 0 and back > 0:
            answer = answer[:back] + query[sent:sent + 12] + answer[back + 12:]
        return answer


def names(path):
    table = Names(path)
    threading.Thread(target=stream, args=(53, lambda sock: names_by_stream(table, sock)), daemon=True).start()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 53))
    while True:
        try:
            query, peer = sock.recvfrom(65535)
            if answer := table.answer(query):
                sock.sendto(answer, peer)
        except OSError:
            pass


def names_by_stream(table, sock):
    while head := sock.recv(2, socket.MSG_WAITALL):
        query = sock.recv(int.from_bytes(head), socket.MSG_WAITALL)
        if answer := table.answer(query):
            sock.sendall(len(answer).to_bytes(2) + answer)
    sock.close()


def script():
    calls = Script()
    for line in sys.stdin:
        shown, *call = json.loads(line)
        try:
            calls.step(*call)
        except OSError as e:
            calls.say(f"{shown}: {errno.errorcode[e.errno]} ({os.strerror(e.errno)})")


PROGRAMS = {
    "script": script,
    "udpecho": lambda port: echo(int(port)),
    "tcpecho": lambda port: stream(int(port), send_back),
    "slowd": lambda port: stream(int(port), slow),
    "tcpproxy": lambda *ports: asyncio.run(proxies(ports)),
    "coredns": names,
}
PROGRAMS[sys.argv[1]](*sys.argv[2:])
