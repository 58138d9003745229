"""The calls of a scenario's `script:`, as JSON, on one UDP socket of the real kernel."""
import errno
import json
import select
import socket
import sys
import time


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def seconds(text):
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


class Script:
    def socket(self, _):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def bind(self, to):
        self.s.bind(address(to))

    def connect(self, to):
        self.s.connect(address(to))

    def send(self, how):
        data = how.get("byte", "@").encode() * how["size"]
        self.s.sendto(data, address(how["to"])) if "to" in how else self.s.send(data)

    def recv(self, how):
        ready, _, _ = select.select([self.s], [], [], seconds(how["timeout"]))
        if not ready:
            print("recv: timed out")
            return
        data, (host, port) = self.s.recvfrom(65536)
        print(f"recv: {len(data)} bytes from {host}:{port}")

    def sleep(self, how_long):
        time.sleep(seconds(how_long))

    def run(self, calls):
        for call in calls:
            if "repeat" in call:
                for _ in range(call["repeat"]):
                    self.run(call["do"])
                continue
            ((name, how),) = call.items()
            try:
                getattr(self, name)(how)
            except OSError as e:
                print(f"{name}: {errno.errorcode[e.errno]}")


Script().run(json.loads(sys.argv[1]))
