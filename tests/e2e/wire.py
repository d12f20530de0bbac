"""A plain RESP connection for the end-to-end tests: what redis-py would hide stays visible."""

import os
import socket

# How long to wait for something that should take a moment: generous, for machines that do other things too.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "30"))


def text(reply):
    """Bytes to str, deeply; errors and the rest stay."""
    if isinstance(reply, bytes):
        return reply.decode(errors="surrogateescape")
    if isinstance(reply, list):
        return [text(item) for item in reply]
    if isinstance(reply, dict):
        return {text(key): text(item) for key, item in reply.items()}
    return reply


class RespError(str):
    """An error reply."""


class Raw:
    """A plain socket with a RESP reader: what redis-py would hide stays visible."""

    def __init__(self, ip, port, timeout=PATIENCE):
        self.socket = socket.create_connection((ip, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def command(self, *args):
        self.send(encode(*args))
        return self.read()

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _more(self):
        got = self.socket.recv(1 << 16)
        if not got:
            raise ConnectionResetError("closed by the server")
        self.buffer += got

    def read(self):
        line = self._line()
        lead, rest = line[:1], line[1:]
        if lead == b"+":
            return rest
        if lead == b"-":
            return RespError(rest.decode(errors="replace"))
        if lead == b":":
            return int(rest)
        if lead in b"$=":
            if rest == b"-1":
                return None
            size = int(rest) + 2
            while len(self.buffer) < size:
                self._more()
            body, self.buffer = self.buffer[: size - 2], self.buffer[size:]
            return body
        if lead in b"*~>":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if lead == b"%":
            return {self.read(): self.read() for _ in range(int(rest))}
        if lead == b"_":
            return None
        if lead == b"#":
            return rest == b"t"
        if lead == b",":
            return float(rest)
        raise AssertionError(f"unexpected reply {line!r}")

    def read_all(self):
        """Everything until the server closes."""
        data = self.buffer
        self.buffer = b""
        try:
            while got := self.socket.recv(1 << 16):
                data += got
        except ConnectionResetError:
            pass
        return data

    def close(self):
        self.socket.close()


def encode(*args):
    """A command in its wire form."""
    parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
