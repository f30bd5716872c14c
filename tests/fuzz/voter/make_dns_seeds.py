#!/usr/bin/python3
"""Seeds for the DNS fuzzers from what real servers said: make_dns_seeds.py REPLIES DIRECTORY
Each message is preceded by its length, as dns_input.hh reads them."""

import pathlib
import struct
import sys


def sized(message):
    return struct.pack("!H", len(message)) + message


def main():
    replies, directory = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    directories = {name: directory / name for name in ("message", "compare", "matcher")}
    for each in directories.values():
        each.mkdir(parents=True, exist_ok=True)
    exchange = {}
    number = 0
    for line in replies.read_text().splitlines() + ["query"]:
        key, _, value = line.partition(" ")
        if key == "query" and exchange:
            request, nsd, named = (exchange[name] for name in ("request", "nsd", "named"))
            seeds = {"message": bytes([255]) + sized(named),
                     "compare": b"\0" + sized(request) + sized(nsd) + sized(named),
                     "matcher": bytes([2, 128]) + sized(request) + sized(nsd)}
            for name, content in seeds.items():
                (directories[name] / f"{number:02}").write_bytes(content)
            disguised = bytes([0x87]) + sized(request) + sized(named)
            (directories["compare"] / f"{number:02}-disguised").write_bytes(disguised)
            number += 1
        elif key in ("request", "nsd", "knot", "named"):
            exchange[key] = bytes.fromhex(value)


if __name__ == "__main__":
    main()
