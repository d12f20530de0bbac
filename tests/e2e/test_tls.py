"""TLS: clients, tools, replication and sentinels, each against real Redis, and what goes wrong.

Certificates are made anew for every run. `port` stays open beside `tls-port` where the harness talks to a node.
"""

import datetime
import ipaddress
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness import PATIENCE, PRODUCT, free_port, fill_with_everything, program, redoubt_binary, same_data, wait_until

# --- certificates


def _key(kind="ec"):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _save(folder, name, certificate, key, password=None):
    guard = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key_path, cert_path = folder / f"{name}.key", folder / f"{name}.crt"
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, guard)
    )
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return SimpleNamespace(cert=str(cert_path), key=str(key_path), certificate=certificate, private=key)


def make(folder, name, issuer=None, kind="ec", password=None, key=None):
    """A certificate of `issuer`, or of its own."""
    key = key or _key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer.private if issuer else key, hashes.SHA256())
    return _save(folder, name, certificate, key, password)


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    ca = make(folder, "ca")
    stranger = make(folder, "stranger-ca")
    return SimpleNamespace(
        folder=folder,
        ca=ca,
        server=make(folder, "server", ca, kind="rsa"),
        second=make(folder, "second", ca),
        client=make(folder, "client", ca),
        encrypted=make(folder, "encrypted", ca, password=b"secret"),
        stranger=stranger,
        stranger_client=make(folder, "stranger-client", stranger),
    )


def tls_lines(certs, port, *more):
    return [
        f"tls-port {port}",
        f"tls-cert-file {certs.server.cert}",
        f"tls-key-file {certs.server.key}",
        f"tls-ca-cert-file {certs.ca.cert}",
        *more,
    ]


def tls_server(world, certs, kind=PRODUCT, *more, **options):
    port = free_port()
    node = world.server(kind, *tls_lines(certs, port, *more), **options)
    node.tls_port = port
    return node


def client(node, certs, identity="client", **options):
    """redis-py over TLS."""
    shown = getattr(certs, identity) if identity else None
    settings = dict(
        ssl=True, port=node.tls_port, ssl_ca_certs=certs.ca.cert,
        ssl_certfile=shown and shown.cert, ssl_keyfile=shown and shown.key,
    )
    settings.update(options)
    return node.client(**settings)


def wrapped(node, certs, identity="client", version=None):
    """A bare TLS socket."""
    context = ssl.create_default_context(cafile=certs.ca.cert)
    shown = getattr(certs, identity) if identity else None
    if shown:
        context.load_cert_chain(shown.cert, shown.key)
    if version:
        context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", node.tls_port), PATIENCE)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def refused(node, certs, **options):
    """True if a client with these settings gets no answer."""
    try:
        client(node, certs, retry=Retry(NoBackoff(), 0), **options).ping()
    except (redis.ConnectionError, OSError):
        return True
    return False


# --- clients


def test_clients_and_their_certificates(world, certs):
    node = tls_server(world, certs)
    assert client(node, certs).ping()
    assert client(node, certs, protocol=3).ping()
    assert client(node, certs, host="localhost").ping()
    # The other end of trust: a server that cannot be believed.
    assert refused(node, certs, ssl_ca_certs=certs.stranger.cert)
    assert refused(node, certs, identity=None)
    node.wait_log(r"Error accepting a client connection: .*certificate.* \(addr=127\.0\.0\.1:\d+ laddr=127\.0\.0\.1:\d+\)")
    assert refused(node, certs, identity="stranger_client")
    for mode, without in (("optional", False), ("no", False), ("yes", True)):
        assert node.cmd("CONFIG", "SET", "tls-auth-clients", mode) == "OK"
        assert refused(node, certs, identity=None) is without
        assert refused(node, certs, identity="stranger_client") is (mode != "no")
        assert client(node, certs).ping()
    assert node.cmd("CONFIG", "GET", "tls-port") == ["tls-port", str(node.tls_port)]
    entries = client(node, certs).client_list()
    assert any(entry["laddr"] == f"127.0.0.1:{node.tls_port}" for entry in entries)


def test_versions(world, certs):
    node = tls_server(world, certs, PRODUCT, 'tls-protocols "TLSv1.2"')
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        node.cmd("CONFIG", "SET", "tls-protocols", name)
        with wrapped(node, certs, version=version) as secure:
            secure.sendall(b"PING\r\n")
            assert secure.recv(100) == b"+PONG\r\n" and secure.version() == name
    with pytest.raises(OSError), wrapped(node, certs, version=ssl.TLSVersion.TLSv1_2) as secure:
        secure.sendall(b"PING\r\n")
        assert secure.recv(100)
    with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
        node.cmd("CONFIG", "SET", "tls-protocols", "TLSv1.1")
    node.cmd("CONFIG", "SET", "tls-protocols", "")
    node.cmd("CONFIG", "SET", "tls-ciphers", "ECDHE-RSA-CHACHA20-POLY1305")
    with wrapped(node, certs, version=ssl.TLSVersion.TLSv1_2) as secure:
        assert secure.cipher()[0] == "ECDHE-RSA-CHACHA20-POLY1305"


def test_sessions_are_taken_up_again(world, certs):
    node = tls_server(world, certs)
    context = ssl.create_default_context(cafile=certs.ca.cert)
    context.load_cert_chain(certs.client.cert, certs.client.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def once(session=None):
        plain = socket.create_connection(("127.0.0.1", node.tls_port), PATIENCE)
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure:
            secure.sendall(b"PING\r\n")
            assert secure.recv(100) == b"+PONG\r\n"
            return secure.session, secure.session_reused

    session, reused = once()
    assert not reused and once(session)[1]
    node.cmd("CONFIG", "SET", "tls-session-caching", "no")
    assert not once(once()[0])[1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_big_values_in_a_pipeline(world, certs, version):
    """Bulk both ways at once, on a socket whose reader is slow."""
    node = tls_server(world, certs)
    value = os.urandom(1 << 20) + b"end"
    count = 12
    request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" % (len(value), value)
    answer = b"+OK\r\n$%d\r\n%s\r\n" % (len(value), value)
    # A context of its own: the two directions of one socket are used by two threads.
    with wrapped(node, certs, version=version) as secure:
        secure.settimeout(PATIENCE)
        sender = threading.Thread(target=lambda: [secure.sendall(request) for _ in range(count)])
        sender.start()
        time.sleep(0.3)
        got = bytearray()
        while len(got) < count * len(answer):
            part = secure.recv(1 << 16)
            assert part
            got += part
        sender.join()
    assert bytes(got) == answer * count


def test_small_pieces_and_half_closed(world, certs):
    node = tls_server(world, certs)
    with wrapped(node, certs) as secure:
        for byte in b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n":
            secure.send(bytes([byte]))
        assert secure.recv(100) == b"$5\r\nhello\r\n"
    # The last requests are answered although the client says farewell behind them.
    with wrapped(node, certs) as secure:
        secure.sendall(b"PING\r\n" * 3)
        try:
            secure.unwrap()
        except ssl.SSLError:
            # The answers come before the other side's farewell; this library does not like that.
            pass
    wait_until(lambda: "cmdstat_ping" in node.info("commandstats"), "the requests ran")
    wait_until(lambda: int(node.info("clients")["connected_clients"]) == 1, "all are gone")


def test_output_limit_counts_what_is_encrypted(world, certs):
    node = tls_server(world, certs, PRODUCT, "client-output-buffer-limit normal 4mb 0 0")
    node.client().set("k", "x" * (1 << 20))
    with wrapped(node, certs) as secure:
        mark = node.log_mark()
        try:
            for _ in range(200):
                secure.sendall(b"GET k\r\n")
        except OSError:
            pass
        node.wait_log("for overcoming of output buffer limits", mark)
    assert client(node, certs).ping()


def test_many_connections(world, certs):
    node = tls_server(world, certs)
    clients = [client(node, certs, single_connection_client=True) for _ in range(100)]
    assert all(one.ping() for one in clients)
    assert int(node.info("clients")["connected_clients"]) >= 100
    for at, one in enumerate(clients):
        one.set(f"k{at}", at)
    assert [int(one.get(f"k{at}")) for at, one in enumerate(clients)] == list(range(100))
    messages = clients[0].pubsub()
    messages.subscribe("news")
    wait_until(lambda: clients[1].publish("news", "hello") == 1, "a subscriber")
    wait_until(lambda: (messages.get_message(timeout=1) or {}).get("data") == "hello", "a message")


def test_garbage_and_the_wrong_protocol(world, certs):
    node = tls_server(world, certs)
    held = client(node, certs)
    held.ping()
    for bytes_ in (b"PING\r\n", b"*1\r\n$4\r\nPING\r\n", os.urandom(100_000), b"\x16\x03\x01\xff\xff\x01\x00", b"\0" * 70_000):
        with socket.create_connection(("127.0.0.1", node.tls_port), PATIENCE) as plain:
            try:
                plain.sendall(bytes_)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(1000):
                    pass
            except OSError:
                # It was closed before all was sent.
                pass
    node.wait_log("Error accepting a client connection: ")
    # TLS at the plain port: an error or nothing, and the server goes on.
    with pytest.raises((redis.ConnectionError, OSError)):
        client(node, certs, port=node.port, retry=Retry(NoBackoff(), 0)).ping()
    # After the handshake, bytes that are no records.
    with wrapped(node, certs) as secure:
        secure.sendall(b"PING\r\n")
        assert secure.recv(100) == b"+PONG\r\n"
        os.write(secure.fileno(), os.urandom(5000))
        try:
            assert secure.recv(100) == b""
        except OSError:
            pass
    # One that connects and says nothing is not kept for ever.
    silent = socket.create_connection(("127.0.0.1", node.tls_port), 120)
    try:
        # A farewell in TLS's words may come first.
        while silent.recv(100):
            pass
    except ConnectionError:
        pass
    assert held.ping() and node.alive()
    wait_until(lambda: int(node.info("clients")["connected_clients"]) == 2, "all others are gone")


def test_protected_mode_is_told_behind_the_handshake(world, certs):
    """A stranger's address is needed for it: the machine's own, if it has one besides loopback."""
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    address = next((ip for ip in found if "." in ip and not ip.startswith("127.")), None)
    if not address:
        pytest.skip("this machine has no address but loopback")
    node = tls_server(world, certs, PRODUCT, f"bind 127.0.0.1 {address}", "protected-mode yes")
    with pytest.raises(redis.RedisError, match="protected mode"):
        client(node, certs, host=address, ssl_check_hostname=False, ssl_cert_reqs="none").ping()


# --- settings


def test_new_certificates_without_a_restart(world, certs, tmp_path):
    node = tls_server(world, certs)
    old = wrapped(node, certs)

    def serial():
        with wrapped(node, certs) as secure:
            der = secure.getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(der).serial_number

    assert serial() == certs.server.certificate.serial_number
    assert node.cmd("CONFIG", "SET", "tls-cert-file", certs.second.cert, "tls-key-file", certs.second.key) == "OK"
    assert serial() == certs.second.certificate.serial_number
    old.sendall(b"PING\r\n")
    assert old.recv(100) == b"+PONG\r\n"
    # What cannot work leaves everything as it is.
    for name, value, line in (
        ("tls-cert-file", "/nonexistent", "Failed to load certificate: /nonexistent: No such file or directory"),
        ("tls-key-file", certs.client.key, "Failed to load private key: .*: key values mismatch"),
        ("tls-key-file", certs.encrypted.key, "Failed to load private key: .*: the key is encrypted"),
        ("tls-ca-cert-file", str(node.config_path), "Failed to configure CA certificate"),
        ("tls-ciphers", "NOPE", "Failed to configure ciphers: NOPE"),
        ("tls-ciphersuites", "NOPE", "Failed to configure ciphersuites: NOPE"),
        ("tls-cert-file", "", "No tls-cert-file configured!"),
    ):
        mark = node.log_mark()
        with pytest.raises(redis.ResponseError) as error:
            node.cmd("CONFIG", "SET", name, value)
        assert str(error.value).endswith(
            f"CONFIG SET failed (possibly related to argument '{name}') - "
            "Unable to update TLS configuration. Check server logs."
        )
        node.wait_log(line, mark)
        assert serial() == certs.second.certificate.serial_number
    assert node.cmd("CONFIG", "GET", "tls-cert-file") == ["tls-cert-file", certs.second.cert]
    # The same name with another content is read again.
    moving = tmp_path / "moving.crt"
    moving.write_bytes(open(certs.second.cert, "rb").read())
    assert node.cmd("CONFIG", "SET", "tls-cert-file", str(moving)) == "OK"
    renewed = make(tmp_path, "renewed", certs.ca, key=certs.second.private)
    moving.write_bytes(open(renewed.cert, "rb").read())
    assert serial() == certs.second.certificate.serial_number
    assert node.cmd("CONFIG", "SET", "tls-cert-file", str(moving)) == "OK"
    assert serial() == renewed.certificate.serial_number
    old.sendall(b"PING\r\n")
    assert old.recv(100) == b"+PONG\r\n"
    old.close()


def test_the_port_comes_and_goes(world, certs):
    node = world.server(PRODUCT)
    node.tls_port = free_port()
    with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
        node.cmd("CONFIG", "SET", "tls-port", node.tls_port)
    node.wait_log("No tls-cert-file configured!")
    words = ["tls-cert-file", certs.server.cert, "tls-key-file", certs.server.key, "tls-ca-cert-file", certs.ca.cert]
    assert node.cmd("CONFIG", "SET", *words) == "OK"
    assert node.cmd("CONFIG", "SET", "tls-port", node.tls_port) == "OK"
    assert client(node, certs).ping()
    assert node.info("server")["listener1"].startswith("name=tls,bind=127.0.0.1,port=")
    held = client(node, certs, single_connection_client=True)
    assert held.config_set("port", 0)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", node.port), PATIENCE).close()
    assert held.info("server")["tcp_port"] == node.tls_port
    assert held.config_set("port", node.port)
    assert node.cmd("PING") == "PONG"
    assert node.cmd("CONFIG", "SET", "tls-port", 0) == "OK"
    wait_until(lambda: refused(node, certs), "nobody listens there")
    assert held.ping()


@pytest.mark.parametrize("kind", ["redis", PRODUCT])
def test_what_does_not_start(world, certs, kind):
    """The same lines in the log of both, up to the words of the TLS library."""
    good = tls_lines(certs, free_port())
    for change, line in (
        (("tls-cert-file", None), "No tls-cert-file configured!"),
        (("tls-key-file", None), "No tls-key-file configured!"),
        (("tls-ca-cert-file", None), "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, "
                                     "tls-replication or tls-auth-clients are enabled!"),
        (("tls-cert-file", "/nonexistent"), "Failed to load certificate: /nonexistent: "),
        (("tls-key-file", "/nonexistent"), "Failed to load private key: /nonexistent: "),
        (("tls-protocols", "TLSv9"), "Invalid tls-protocols specified. "),
    ):
        name, value = change
        lines = [one for one in good if not one.startswith(name)] + ([f"{name} {value}"] if value else [])
        node = world.server(kind, *lines, start=False)
        node.start(wait=False)
        assert node.process.wait(PATIENCE) == 1
        node.process = None
        assert line in node.log() and "Failed to configure TLS. Check logs for more info." in node.log()


def test_a_folder_of_certificates(world, certs, tmp_path):
    (tmp_path / "README").write_text("nothing")
    (tmp_path / "ca.pem").write_bytes(open(certs.ca.cert, "rb").read())
    port = free_port()
    node = world.server(
        PRODUCT, f"tls-port {port}", f"tls-cert-file {certs.server.cert}", f"tls-key-file {certs.server.key}",
        f"tls-ca-cert-dir {tmp_path}", "tls-dh-params-file /nonexistent",
    )
    node.tls_port = port
    assert client(node, certs).ping() and refused(node, certs, identity="stranger_client")
    node.wait_log("accepted but have no effect here: tls-dh-params-file")


# --- tools


def tool(words, stdin=None, **options):
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=PATIENCE, **options)


def tool_words(kind, role):
    return program("redis", role) if kind == "redis" else [redoubt_binary(), role]


@pytest.mark.parametrize("kinds", [("redis", PRODUCT), ("redoubt", "redis"), ("redoubt", PRODUCT)], ids="-".join)
def test_cli(world, certs, kinds):
    node = tls_server(world, certs, kinds[1])
    cli = tool_words(kinds[0], "cli")
    at = ["-p", str(node.tls_port), "--tls"]
    trust = ["--cacert", certs.ca.cert]
    own = ["--cert", certs.client.cert, "--key", certs.client.key]
    assert tool(cli + at + trust + own + ["ping"]).stdout == "PONG\n"
    assert tool(cli + at + ["--insecure", "--sni", "localhost"] + own + ["ping"]).stdout == "PONG\n"
    uri = ["-u", f"rediss://127.0.0.1:{node.tls_port}"]
    assert tool(cli + uri + trust + own + ["set", "k", "v"]).stdout == "OK\n"
    piped = tool(cli + at + trust + own + ["--pipe"], "".join(f"SET pipe{n} {'x' * 100}\r\n" for n in range(20_000)))
    assert "errors: 0, replies: 20000" in piped.stdout, piped
    assert tool(cli + at + trust + own + ["dbsize"]).stdout == "20001\n"
    suites = ["--tls-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "--tls-ciphers", "ECDHE-RSA-AES256-GCM-SHA384"]
    assert tool(cli + at + trust + own + suites + ["ping"]).stdout == "PONG\n"
    # What goes wrong ends with 1 and a word on standard error.
    failing = [
        (at + own + ["ping"], "SSL_connect failed: certificate verify failed"),
        (at + ["--cacert", certs.stranger.cert] + own + ["ping"], "SSL_connect failed: certificate verify failed"),
        (at + ["--cacert", "/nonexistent"] + ["ping"], "Could not negotiate a TLS connection: Invalid CA Certificate File/Directory"),
        (at + trust + ["--cert", "/nonexistent", "--key", "/nonexistent", "ping"],
         "Could not negotiate a TLS connection: Invalid client certificate"),
        # The server's word may come with its handshake or behind it.
        (at + trust + ["ping"], "Error: |SSL_connect failed: "),
    ]
    if kinds[1] != "redis":
        # A plain port of redis-server keeps silent, and redis-cli would wait for ever.
        failing.append((["-p", str(node.port), "--tls"] + trust + own + ["ping"], "Could not connect to Redis at"))
    for words, said in failing:
        done = tool(cli + words)
        assert done.returncode == 1 and re.search(said, done.stderr) and done.stdout == "", (words, done)
    plain = tool(cli + ["-p", str(node.tls_port), "ping"])
    assert plain.returncode == 1 and plain.stdout == ""


@pytest.mark.parametrize("kinds", [("redis", PRODUCT), ("redoubt", "redis"), ("redoubt", PRODUCT)], ids="-".join)
def test_benchmark(world, certs, kinds):
    node = tls_server(world, certs, kinds[1])
    words = tool_words(kinds[0], "benchmark") + [
        "-p", str(node.tls_port), "--tls", "--cacert", certs.ca.cert, "--cert", certs.client.cert,
        "--key", certs.client.key, "-n", "2000", "-c", "20", "-P", "4", "-q", "-t", "set,get",
    ]
    done = tool(words)
    assert done.returncode == 0 and re.search(r"GET: [\d.]+ requests per second", done.stdout), done


# --- replication and sentinels


@pytest.mark.parametrize("kinds", [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)], ids="-".join)
def test_replication(world, certs, kinds):
    master = tls_server(world, certs, kinds[0], "tls-replication yes")
    fill_with_everything(master.client())
    master.client().set("big", os.urandom(3 << 20))
    replica = tls_server(world, certs, kinds[1], "tls-replication yes", f"replicaof 127.0.0.1 {master.tls_port}")
    replica.wait_link_up()
    same_data(master, replica)
    # The stream, with values that fill many records.
    writer = client(master, certs)
    for at in range(20):
        writer.set(f"value{at}", "y" * (300_000 + at))
    fill_with_everything(master.client(), seed=2)
    same_data(master, replica)
    # The port that others are told is the one of TLS.
    assert re.search(rf"ip=127\.0\.0\.1,port={replica.tls_port},state=online", master.info("replication")["slave0"])
    # The connection is lost and taken up again.
    master.cmd("CLIENT", "KILL", "TYPE", "replica")
    writer.set("after", "1")
    wait_until(lambda: replica.client().get("after") == "1", "the stream goes on")
    same_data(master, replica)
    # Roles change.
    assert replica.cmd("REPLICAOF", "NO", "ONE") == "OK"
    assert master.cmd("REPLICAOF", "127.0.0.1", replica.tls_port) == "OK"
    master.wait_link_up()
    client(replica, certs).set("turned", "1")
    wait_until(lambda: master.client().get("turned") == "1", "the other direction works")


def test_a_master_that_cannot_be_believed(world, certs):
    master = tls_server(world, certs)
    replica = tls_server(world, certs, PRODUCT, "tls-replication yes", f"replicaof 127.0.0.1 {master.tls_port}",
                         f"tls-ca-cert-file {certs.stranger.cert}")
    replica.wait_log("certificate verify failed")
    assert replica.info("replication")["master_link_status"] == "down"
    # Put right without a restart.
    assert replica.cmd("CONFIG", "SET", "tls-ca-cert-file", certs.ca.cert) == "OK"
    replica.wait_link_up()
    # A plain link to a TLS port, and TLS to a plain port.
    assert replica.cmd("CONFIG", "SET", "tls-replication", "no") == "OK"
    replica.cmd("REPLICAOF", "NO", "ONE")
    replica.cmd("REPLICAOF", "127.0.0.1", master.port)
    replica.wait_link_up()
    assert replica.cmd("CONFIG", "SET", "tls-replication", "yes") == "OK"
    replica.cmd("REPLICAOF", "NO", "ONE")
    mark = replica.log_mark()
    replica.cmd("REPLICAOF", "127.0.0.1", master.port)
    replica.wait_log("Error condition on socket for SYNC", mark)
    assert replica.alive() and master.alive()


def test_failover_with_sentinels_of_both_kinds(world, certs):
    secure = ("tls-replication yes",)
    master = tls_server(world, certs, PRODUCT, *secure, name="first")
    replicas = [
        tls_server(world, certs, kind, *secure, f"replicaof 127.0.0.1 {master.tls_port}", name=f"replica{at}-{kind}")
        for at, kind in enumerate((PRODUCT, "redis"))
    ]
    for replica in replicas:
        replica.wait_link_up()
    sentinels = []
    for at, kind in enumerate((PRODUCT, PRODUCT, "redis")):
        port = free_port()
        sentinel = world.sentinel(
            kind, *tls_lines(certs, port, *secure),
            f"sentinel monitor mymaster 127.0.0.1 {master.tls_port} 2",
            "sentinel down-after-milliseconds mymaster 1500",
            "sentinel failover-timeout mymaster 20000", name=f"sentinel{at}-{kind}",
        )
        sentinel.tls_port = port
        sentinels.append(sentinel)
    for sentinel in sentinels:
        def sees_all():
            state = sentinel.master_state()
            return state["num-slaves"] == "2" and state["num-other-sentinels"] == "2" and state["flags"] == "master"
        wait_until(sees_all, f"{sentinel.name} knows all", 60)
        peers = sentinel.cmd("SENTINEL", "SENTINELS", "mymaster")
        ports = {int(dict(zip(peer[::2], peer[1::2]))["port"]) for peer in peers}
        assert ports == {other.tls_port for other in sentinels if other is not sentinel}
    # Clients ask sentinels over TLS, too.
    assert client(sentinels[0], certs).execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    master.kill9()
    for sentinel in sentinels:
        wait_until(lambda: sentinel.master_addr()[1] != master.tls_port, f"{sentinel.name} has another master", 90)
    port = sentinels[0].master_addr()[1]
    new = next(one for one in replicas if one.tls_port == port)
    other = next(one for one in replicas if one.tls_port != port)
    new.wait_role("master")
    wait_until(lambda: other.info("replication").get("master_port") == str(port), "the other follows", 60)
    other.wait_link_up(60)
    client(new, certs).set("after", "1")
    wait_until(lambda: other.client().get("after") == "1", "it replicates")
    assert {sentinel.master_addr()[1] for sentinel in sentinels} == {port}
