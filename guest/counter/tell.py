#!/usr/bin/python3
"""Tells a counter service how to behave: tell.py CONTROL-PATH COMMAND...

Prints its reply; exit 1 where the service refuses the command or does not answer.
"""

import os
import socket
import sys
import tempfile


def tell(path, command, seconds=2.0):
    """The reply to one command; OSError where nobody answers."""
    with tempfile.TemporaryDirectory(prefix="quorate-tell-") as directory, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # An abstract socket has to be asked from one; a path reaches across network namespaces,
        # and the service, which may run as somebody else, must get through to ours.
        if path.startswith("@"):
            sock.bind("")
        else:
            os.chmod(directory, 0o711)
            sock.bind(os.path.join(directory, "reply"))
            os.chmod(os.path.join(directory, "reply"), 0o666)
        sock.settimeout(seconds)
        sock.sendto(command.encode(), "\0" + path[1:] if path.startswith("@") else path)
        return sock.recv(512).decode()


def main():
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        reply = tell(sys.argv[1], " ".join(sys.argv[2:]))
    except OSError as error:
        sys.exit("nobody answers at %s: %s" % (sys.argv[1], error))
    print(reply)
    sys.exit(1 if reply.startswith("error") else 0)


if __name__ == "__main__":
    main()
