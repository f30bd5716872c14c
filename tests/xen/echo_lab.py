"""A lab with an echo service at 10.53.0.53 behind a proxy, for tests that bring replicas of their own
(replicas.py has three that are alike).

    self.lab = self.enterContext(echo_lab.EchoLab())
    self.client, self.proxy = self.lab.serve("mine", GROUP + echo_lab.replica("one") + ...)
    self.lab.start_replicas()
"""

import json

import dom0
import guests
import harness

SERVER = ("10.53.0.53", 7)
SECONDS_MAX = 300  # for anything
HEAD = """
[appliance]
name = "{name}"
state_dir = "{state}"
workers = {workers}
[client]
ports = ["veth:qc0"]
[[service]]
name = "echo"
group = "echo"
addresses = ["{server[0]}"]
port = {server[1]}
matcher = "0:8"
[[group]]
name = "echo"
"""


def replica(name, image="echo", **more):
    """The configuration of one that is a domain; `more` of [group.replica.xen]."""
    about = dom0.manifest(image)
    keys = {**guests.boot_keys(about), "memory_mb": 96,
            "command_line": f"{about['command_line']} mitigations=off",
            "health_timeout_ms": SECONDS_MAX * 1000, **more}
    return (f'[[group.replica]]\nname = "{name}"\n[group.replica.xen]\n'
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))


class EchoLab(dom0.Lab):
    def serve(self, name, group, workers=1):
        """Client and proxy. `group`: what follows in [[group]], replicas included."""
        client = self.client(addresses=("10.53.0.2/24",))
        state = self.directory / "state"
        self.config = self.file("config.toml", HEAD.format(name=name, state=state, workers=workers,
                                                           server=SERVER) + group)
        self.running = self.proxy(self.config, state, deadline_s=60)
        return client, self.running

    def replica(self, *words, check=True):
        return self.quorate("replica", *words, "--config", self.config, timeout=3 * SECONDS_MAX,
                            check=check)

    def start_replicas(self):
        """Those that are domains; until all are admitted."""
        self.at_end.append(lambda: self.replica("stop", "--all", check=False))
        self.replica("start", "--all")
        harness.wait_until(lambda: set(self.standings()) == {"admitted"}, 60, "all are admitted")

    def replicas(self):
        """Their part of the status."""
        return self.running.control.status()["groups"][0]["replicas"]

    def standings(self):
        return [replica["standing"] for replica in self.replicas()]
