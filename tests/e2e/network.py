"""Links that can be cut: a TCP relay, and network namespaces on bridges of our own."""

import os
import random
import shutil
import socket
import subprocess
import threading

from wire import PATIENCE


class Proxy:
    """A TCP relay whose links can be cut, refused or held back."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.refuse = False
        self.hold = threading.Event()
        self.hold.set()
        self.pairs = []
        self.lock = threading.Lock()
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), 5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self.lock:
                self.pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                self.hold.wait()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Closes all links; new ones are accepted unless `refuse` is set."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()

    def close(self):
        self.closed = True
        self.hold.set()
        self.listener.close()
        self.cut()


class Host:
    """A network namespace with one address."""

    def __init__(self, network, number):
        self.network = network
        self.namespace = f"{network.tag}h{number}"
        self.outer = f"{network.tag}v{number}"
        self.ip = f"{network.prefix}.{number + 10}"

    def create(self):
        inner = f"{self.outer}i"
        sh("ip", "netns", "add", self.namespace)
        sh("ip", "link", "add", self.outer, "type", "veth", "peer", "name", inner)
        sh("ip", "link", "set", inner, "netns", self.namespace)
        sh("ip", "-n", self.namespace, "addr", "add", f"{self.ip}/24", "dev", inner)
        sh("ip", "-n", self.namespace, "link", "set", inner, "up")
        sh("ip", "-n", self.namespace, "link", "set", "lo", "up")
        sh("ip", "link", "set", self.outer, "master", self.network.bridges[0])
        sh("ip", "link", "set", self.outer, "up")

    def cli(self, target, *args):
        """redis-cli run inside this namespace; its output."""
        words = ["ip", "netns", "exec", self.namespace, "redis-cli", "-h", target.ip, "-p", str(target.port)]
        if target.password:
            words += ["--no-auth-warning", "-a", target.password]
        done = subprocess.run(words + [str(a) for a in args], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.strip()


class Network:
    """Hosts on a bridge of our own; a second bridge is the other side of a partition."""

    def __init__(self):
        self.tag = f"rd{os.getpid() % 10000}"
        # Tests that run side by side have networks of their own.
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self.prefix = f"10.{213 + worker % 8}.{random.randint(1, 250)}"
        self.bridges = [f"{self.tag}a", f"{self.tag}b"]
        self.hosts = []
        for bridge in self.bridges:
            sh("ip", "link", "add", bridge, "type", "bridge")
            sh("ip", "link", "set", bridge, "up")
        sh("ip", "addr", "add", f"{self.prefix}.1/24", "dev", self.bridges[0])
        self._let_through("-I")

    def _let_through(self, what):
        """Where containers run, the kernel may drop what is bridged unless a rule lets it pass."""
        if shutil.which("iptables"):
            for bridge in self.bridges:
                subprocess.run(["iptables", "-w", what, "FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"], capture_output=True)

    def host(self):
        host = Host(self, len(self.hosts))
        self.hosts.append(host)
        host.create()
        return host

    def partition(self, hosts):
        """Puts these hosts on the other bridge: they reach each other and nobody else."""
        for host in hosts:
            sh("ip", "link", "set", host.outer, "master", self.bridges[1])

    def heal(self):
        for host in self.hosts:
            sh("ip", "link", "set", host.outer, "master", self.bridges[0])

    def close(self):
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True)
            subprocess.run(["ip", "link", "del", host.outer], capture_output=True)
        self._let_through("-D")
        for bridge in self.bridges:
            subprocess.run(["ip", "link", "del", bridge], capture_output=True)


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
