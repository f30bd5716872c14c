"""The DNS story: nsd, knot and named as one server, one of which lies, one of which hangs."""

import os
import re

import appliance
import dns
import harness

SERVICE = appliance.DNS_ADDRESS[0]
RATE = 2000       # queries a second that dnsperf sends
SECONDS = 2.5     # for so long in each step
OUTSTANDING = 64  # of them unanswered at most
CHECKED = 1500    # answers that our own client compares with the truth in each step
LIE = appliance.DnsAppliance.LIE

COLUMNS = [("requests", "requests", "{:,}"), ("agreed", "agreed", "{:,}"),
           ("dissent", "dissent", "{:,}"), ("silence", "silence", "{:,}"), ("split", "split", "{:,}"),
           ("wrong", "wrong answers", "{:,}"), ("p50", "p50 ms", "{:.2f}"), ("p99", "p99 ms", "{:.2f}")]
NOTE = ("split: requests on which no two servers agreed in time. p50 and p99 are what dnsperf saw, "
        f"at {RATE:,} queries a second, on {os.cpu_count()} shared cores.")


class DnsStory:
    def __init__(self, lab, story):
        self.lab, self.story = lab, story
        self.appliance = appliance.DnsAppliance(lab)
        self.config = self.appliance.config
        self.questions = dns.varied(self.appliance.zone, 4000)
        lab.file("queries", "".join(f"{name} {qtype}\n" for name, qtype in self.questions))
        self.client = None
        self.expected = {}

    # --- what every step does

    def dig(self, name="www.example.", qtype="A"):
        """What a client's dig says, in one line."""
        result = self.client.run(["dig", "+time=2", "+tries=1", f"@{SERVICE}", name, qtype],
                                 check=False)
        status = re.search(r"status: (\w+)", result.stdout)
        answers = re.findall(rf"^\S+\s+\d+\s+IN\s+{qtype}\s+(\S+)$", result.stdout, re.MULTILINE)
        code = status.group(1) if status else "no answer"
        line = f"{code} {' '.join(sorted(answers))}".strip()
        self.story.show(f"client$ dig @{SERVICE} {name} {qtype}   ->  {line}")
        return line

    def load(self):
        """dnsperf for a while with live figures, then our checking client; this step's row."""
        before = self.appliance.settled(quiet_s=0.35)
        log = self.lab.logs / f"dnsperf-{self.story.number}.log"
        dnsperf = self.client.start(
            ["dnsperf", "-v", "-s", SERVICE, "-d", self.lab.directory / "queries", "-l", SECONDS,
             "-Q", RATE, "-q", OUTSTANDING, "-t", 2], f"dnsperf-{self.story.number}")

        def finished():
            change = appliance.difference(before, self.appliance.figures())
            self.story.live("  ".join(f"{key} {change[key]:,}" for key in
                                      ("requests", "agreed", "dissent", "silence", "split")))
            return not dnsperf.alive()

        harness.wait_until(finished, SECONDS + 15, "dnsperf ends", pause_s=0.2)
        figures = dns.dnsperf_figures(log.read_text(errors="replace"))
        with self.client.socket() as connection:
            tally, _ = dns.ask_all(connection, appliance.DNS_ADDRESS, self.questions, self.expected,
                                   window=32, total=CHECKED)
        change = appliance.difference(before, self.appliance.settled())
        change["split"] += change.pop("expired")
        self.story.figures(
            f"dnsperf: {figures['sent']:,} sent, {figures['lost']} lost, {figures['codes']}; "
            f"checked: {tally.sent:,}, {tally.wrong} wrong, {tally.refused} SERVFAIL")
        self.story.details = {key: value for key, value in change.items() if value}
        self.story.row(**{key: change[key] for key in ("requests", "agreed", "dissent", "silence",
                                                       "split")},
                       wrong=tally.wrong, p50=figures["p50_ms"], p99=figures["p99_ms"])
        return change, figures, tally

    def served(self, figures, tally):
        self.story.check(tally.wrong == 0 and tally.right == tally.sent,
                         f"each of {tally.sent:,} answers was the right one")
        self.story.check(figures["lost"] == 0, "no query was lost")

    # --- the steps

    def tell(self):
        for step in (self.start, self.all_agree, self.one_lies, self.one_hangs, self.both,
                     self.healing):
            step()
        return COLUMNS, NOTE

    def start(self):
        self.story.step("starting")
        self.story.say(f"""Three servers written by different people (nsd, knot, named), each in a network
            namespace of its own, each with the same zone and the same address, {SERVICE}. Between them
            and the client stands quorate-proxy; it lets out what two of the three agree on.""")
        self.story.show("client --- quorate-proxy --+-- nsd\n"
                        "                           +-- knot\n"
                        "                           +-- named")
        self.client = self.lab.client()
        self.appliance.start()
        self.expected = self.appliance.truth(self.questions)
        self.story.check(self.appliance.standings() == ["admitted"] * 3, "three replicas are admitted")

    def all_agree(self):
        self.story.step("all agree")
        good = self.dig()
        self.dig("nowhere.example.", "AAAA")
        change, figures, tally = self.load()
        self.story.check("192.0.2.80" in good, "www.example has its address")
        self.served(figures, tally)
        self.story.check(change["agreed"] == change["requests"] and not change["dissent"],
                         "nobody dissented")

    def one_lies(self):
        self.story.step("nsd lies")
        self.story.say(f"Somebody has got into nsd and made every name point to {LIE}.")
        self.appliance.alter("nsd")
        inside = self.appliance.ask_inside(
            "nsd", ["dig", "+short", "+time=2", "+tries=1", f"@{SERVICE}", "www.example.", "A"])
        self.story.show(f"nsd itself$ dig www.example. A   ->  {inside}")
        outside = self.dig()
        change, figures, tally = self.load()
        self.story.check(inside == LIE, "nsd does lie")
        self.story.check(LIE not in outside and "192.0.2.80" in outside, "its lie stayed inside")
        self.served(figures, tally)
        self.story.check(change["dissent nsd"] > 0 and change["dissent"] == change["dissent nsd"],
                         f"nsd, and only nsd, was seen to dissent: {change['dissent nsd']:,} times")
        path, comment = harness.wait_until(
            lambda: self.appliance.evidence()[0] and self.appliance.evidence(), 5, "evidence")
        self.story.say("The evidence, for Wireshark or tshark, is in")
        self.story.show(f"{path}\n{comment}")
        self.story.check("nsd" in comment, "it names nsd")

    def one_hangs(self):
        self.story.step("knot hangs")
        self.story.say("nsd is itself again. Now every process of knot is stopped where it stands.")
        self.appliance.heal("nsd")
        self.appliance.pause("knot")
        self.dig()
        change, figures, tally = self.load()
        self.served(figures, tally)
        self.story.check(change["silence knot"] > 0 and change["silence"] == change["silence knot"],
                         f"knot, and only knot, was silent: {change['silence knot']:,} times")
        self.story.check(change["dissent"] == 0, "silence is not counted as dissent")

    def both(self):
        self.story.step("both at once")
        self.story.say("""knot still hangs, and nsd lies again: two faults where one can be masked. No two
            servers agree on an address now. Wrong would be to guess.""")
        # Admission of the restarted nsd does not need knot.
        self.appliance.alter("nsd")
        outside = self.dig()
        change, figures, tally = self.load()
        self.story.check(LIE not in outside and "192.0.2.80" not in outside,
                         "nobody was believed: the client was told that it failed")
        self.story.check(tally.wrong == 0, f"none of {tally.right:,} answers that left was wrong")
        self.story.check(change["split"] > 0, f"{change['split']:,} requests found no quorum")
        self.story.check(tally.right > 0, "what nsd did not lie about was still answered")

    def healing(self):
        self.story.step("healing")
        self.story.say("knot goes on where it stood, nsd gets its zone back.")
        self.appliance.resume("knot")
        self.appliance.heal("nsd")
        harness.wait_until(self.quiet_round, 15, "a round without a fault")
        good = self.dig()
        change, figures, tally = self.load()
        self.story.check("192.0.2.80" in good, "www.example has its address again")
        self.served(figures, tally)
        self.story.check(not change["dissent"] and not change["silence"] and not change["split"],
                         "nobody dissents, nobody is silent")

    def quiet_round(self):
        """knot has read what waited in its socket while it stood, and answers in time again."""
        before = self.appliance.figures()
        with self.client.socket() as connection:
            dns.ask_all(connection, appliance.DNS_ADDRESS, self.questions, window=16, total=64)
        change = appliance.difference(before, self.appliance.settled(quiet_s=0.4))
        return not change["dissent"] and not change["silence"]

    def hints(self):
        return [f"client dig @{SERVICE} www.example.",
                f"quorate status --config {self.config}",
                f"quorate replica stop dns/named --config {self.config}"]
