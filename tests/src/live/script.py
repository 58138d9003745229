"""A script of a scenario on the real kernel: the same calls, the same lines about what came of them.

Lines of words stand on the standard input; `udpecho PORT` as the only argument is the server of that name.
"""
import errno
import os
import socket
import sys
import time

LEVELS = {"ip": socket.SOL_IP, "socket": socket.SOL_SOCKET}
OPTIONS = {"ttl": 2, "tos": 1, "recverr": 11, "pmtudisc": 10, "broadcast": 6, "rcvbuf": 8, "reuseaddr": 2, "dontroute": 5}
MODES = {"dont": 0, "want": 1, "do": 2, "probe": 3, "interface": 4, "omit": 5}


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def echo(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        try:
            data, peer = sock.recvfrom(65535)
            sock.sendto(data, peer)
        except OSError:
            pass


def receive(sock, timeout, size):
    sock.settimeout(None if timeout is None else timeout)
    try:
        data, peer = sock.recvfrom(size)
        print(f"recv: {len(data)} bytes from {peer[0]}:{peer[1]}")
    except TimeoutError:
        print("recv: timed out")
    finally:
        sock.settimeout(None)


def step(sock, words):
    """One line; the socket that the next one uses."""
    call, *args = words
    if call == "socket":
        if sock is not None:
            sock.close()
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if call == "setsockopt":
        level, name, value = args
        if name == "bindtodevice":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, value.encode())
        else:
            sock.setsockopt(LEVELS[level], OPTIONS[name], MODES[value] if value in MODES else int(value))
    elif call == "bind":
        sock.bind(address(args[0]))
    elif call == "connect":
        sock.connect(address(args[0]))
    elif call == "send":
        data = bytes([int(args[1])]) * int(args[0])
        if len(args) == 3:
            sock.sendto(data, address(args[2]))
        else:
            sock.send(data)
    elif call == "recv":
        receive(sock, float(args[0]) if args[0] != "-" else None, int(args[1]))
    elif call == "sleep":
        time.sleep(float(args[0]))
    elif call == "close":
        sock.close()
    else:
        raise ValueError(call)
    return sock


def main():
    if sys.argv[1:2] == ["udpecho"]:
        echo(int(sys.argv[2]))
    sock = None
    for line in sys.stdin:
        shown, _, words = line.rstrip("\n").partition("\t")
        try:
            sock = step(sock, words.split())
        except OSError as e:
            print(f"{shown}: {errno.errorcode[e.errno]} ({os.strerror(e.errno)})")


main()
