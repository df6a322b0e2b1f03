"""Certificates made on the spot: good ones, and every bad kind that a receiver may show."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(host)) if host[-1].isdigit() else x509.DNSName(host)


def _unsigned(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
    )


@dataclass(frozen=True)
class Authority:
    """One that issues certificates to whoever asks."""

    name: x509.Name = field(default_factory=lambda: _name(f"Authority {uuid4()}"))
    key: ec.EllipticCurvePrivateKey = field(default_factory=_key)

    @property
    def certificate(self) -> str:
        """Its own, in PEM."""
        now = datetime.now(UTC)
        builder = _unsigned(self.name, self.name, self.key).not_valid_before(now - DAY).not_valid_after(now + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return _pem(builder.sign(self.key, hashes.SHA256()))

    def issue(self, host: str = "127.0.0.1", *, starts: timedelta = -DAY, ends: timedelta = DAY) -> ssl.SSLContext:
        """A server's context, its certificate valid from and until so long from now."""
        key = _key()
        return _context(key, _certificate(host, key, self.name, self.key, starts, ends))

    def issue_with_root(self) -> ssl.SSLContext:
        """The same, its own certificate sent along."""
        key = _key()
        leaf = _certificate("127.0.0.1", key, self.name, self.key, -DAY, DAY)
        return _context(key, leaf + self.certificate)


def self_signed() -> ssl.SSLContext:
    key = _key()
    return _context(key, _certificate("127.0.0.1", key, _name("receiver.example"), key, -DAY, DAY))


def asking_back(context: ssl.SSLContext, authority: Authority) -> ssl.SSLContext:
    """The same server, which wants to see the client's certificate, and by TLS 1.2 says so within the handshake."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _certificate(
    host: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signing: ec.EllipticCurvePrivateKey,
    starts: timedelta,
    ends: timedelta,
) -> str:
    now = datetime.now(UTC)
    builder = (
        _unsigned(_name("receiver.example"), issuer, key).not_valid_before(now + starts).not_valid_after(now + ends)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([_host(host)]), critical=False)
    return _pem(builder.sign(signing, hashes.SHA256()))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _context(key: ec.EllipticCurvePrivateKey, chain: str) -> ssl.SSLContext:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_text(private.decode() + chain)
        context.load_cert_chain(path)
    return context
