"""Ethernet frames as bytes, right or wrong on purpose. Known limit: IPv4 only."""

import socket
import struct


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ethernet(to, sender, payload, ethertype=0x0800):
    return mac(to) + mac(sender) + struct.pack("!H", ethertype) + payload


def ipv4(source, to, payload, protocol=17, *, total=None, options=b"", fragment=0, number=1,
         wrong_sum=False, version=4, ttl=64):
    """`fragment` is the 16-bit field of flags and offset; `total` overrides the length told."""
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH4s4s", version << 4 | length // 4, 0,
                         length + len(payload) if total is None else total, number, fragment, ttl,
                         protocol, 0, socket.inet_aton(source), socket.inet_aton(to)) + options
    sum_ = checksum(header) ^ (0x1111 if wrong_sum else 0)
    return header[:10] + struct.pack("!H", sum_) + header[12:] + payload


def udp(source, to, from_port, to_port, payload, *, length=None, wrong_sum=False):
    length = 8 + len(payload) if length is None else length
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!BBH", 0, 17, length)
    header = struct.pack("!4H", from_port, to_port, length, 0)
    sum_ = checksum(pseudo + header + payload) or 0xFFFF
    return header[:6] + struct.pack("!H", sum_ ^ (0x1111 if wrong_sum else 0)) + payload


def tcp_syn(source, to, from_port, to_port):
    header = struct.pack("!HHIIBBHHH", from_port, to_port, 1, 0, 5 << 4, 2, 1000, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!BBH", 0, 6, len(header))
    return header[:16] + struct.pack("!H", checksum(pseudo + header)) + header[18:]
