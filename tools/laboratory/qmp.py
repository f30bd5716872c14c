"""QEMU's monitor: one JSON object per line each way (QEMU's docs/interop/qmp-spec.txt).

Known limit: one command at a time; events are skipped.
"""

import array
import json
import os
import socket
import time

from store import Failure

REPLY_BYTES_MAX = 1 << 20


def connect_in(directory, name):
    """A connection to the socket `name`; its path may be longer than a socket's address can be."""
    where = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{where}/{name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(where)
    return connection


class Monitor:
    def __init__(self, directory, name="monitor", timeout_s=30):
        self.connection = connect_in(directory, name)
        self.connection.settimeout(timeout_s)
        self.buffer = b""
        self._message()  # the greeting
        self.execute("qmp_capabilities")

    def close(self):
        self.connection.close()

    def _message(self):
        while b"\n" not in self.buffer:
            data = self.connection.recv(65536)
            if not data or len(self.buffer) > REPLY_BYTES_MAX:
                raise Failure("QEMU's monitor has gone")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def execute(self, command, descriptor=None, **arguments):
        """The reply's value. `descriptor` goes along (getfd)."""
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        extra = []
        if descriptor is not None:
            extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            self.connection.sendmsg([line], extra)
            while True:
                message = self._message()
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    raise Failure(f"QEMU: {command}: {message['error']['desc']}")
        except TimeoutError:
            raise Failure(f"QEMU does not answer its monitor ({command})") from None
        except OSError as error:
            raise Failure(f"QEMU's monitor has gone ({command}: {error.strerror})") from None

    def save(self, path, deadline_s=120):
        """Stops the machine and writes its whole state to a file."""
        self.execute("stop")
        self.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self.execute("getfd", descriptor=file, fdname="state")
        finally:
            os.close(file)
        self.execute("migrate", uri="fd:state")
        self._migrated("save", deadline_s)

    def wait_restored(self, deadline_s=60):
        """Until a machine started with -incoming has its state."""
        self._migrated("restore", deadline_s)

    def _migrated(self, what, deadline_s):
        end = time.monotonic() + deadline_s
        while True:
            info = self.execute("query-migrate")
            status = info.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise Failure(f"QEMU: {what}: {info.get('error-desc', status)}")
            if time.monotonic() > end:
                raise Failure(f"QEMU: {what} not done within {deadline_s} s")
            time.sleep(0.02)  # pause: between two looks, until the deadline
