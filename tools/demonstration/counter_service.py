"""The story of a service with state: a counter whose replicas must have seen every request."""

import os
import re

import appliance
import counter
import harness

SERVICE, PORT = "10.53.0.53", 7000
LOAD = 3000

COLUMNS = [("requests", "requests", "{:,}"), ("agreed", "agreed", "{:,}"),
           ("dissent", "dissent", "{:,}"), ("silence", "silence", "{:,}"), ("split", "split", "{:,}"),
           ("wrong", "wrong answers", "{:,}"), ("p50", "p50 ms", "{:.2f}"), ("p99", "p99 ms", "{:.2f}")]
NOTE = ("split: requests on which no two replicas agreed in time. p50 and p99 are what the client saw, "
        f"16 requests at a time, on {os.cpu_count()} shared cores.")


class CounterStory:
    def __init__(self, lab, story):
        self.lab, self.story = lab, story
        self.state_dir = lab.directory / "state"
        text = (harness.TOP / "examples" / "counter" / "quorate.toml").read_text()
        text = text.replace("[appliance]", f'[appliance]\nstate_dir = "{self.state_dir}"', 1)
        # Where their ears are, so that we can tell them to lie.
        for name in ("first", "second", "third"):
            ear = str(lab.directory / f"ear-{name}")
            text = re.sub(rf'(name = "{name}".*?)"{{dir}}/control"(.*?)"{{dir}}/control"',
                          rf'\1"{ear}"\2"{ear}"', text, count=1, flags=re.DOTALL)
        self.config = lab.file("quorate.toml", text)
        self.appliance = appliance.Appliance(
            lab, self.config, self.state_dir, "counter",
            ["first", "second", "third"])
        self.client = self.counting = None

    def replica(self, name, *command):
        """Says something to a replica's service, past Quorate: what an intruder could do to it."""
        self.story.show(f"{name}: {' '.join(command)}")
        return self.lab.run(["tell.py", self.lab.directory / f"ear-{name}", *command]).stdout.strip()

    def load(self, total=LOAD, pace=None, timeout=1.0):
        before = self.appliance.settled(quiet_s=0.4)
        wrong_before, self.counting.latencies = len(self.counting.wrong), []

        def live(number):
            if pace:
                pace(number)
            if number % 256 == 0 and self.appliance.proxy.alive():
                self.story.live(f"{number:,} requests sent, {len(self.counting.counts):,} answered")

        answered = self.counting.ask(total, pace=live, timeout=timeout)
        change = appliance.difference(before, self.appliance.settled())
        change["split"] += change.pop("expired")
        wrong = self.counting.wrong
        self.story.figures(f"{total:,} requests, {answered:,} answered, the count is {self.counting.highest:,}"
                           + (f"; WRONG: {wrong[:3]}" if wrong else ""))
        p50, p99 = (self.counting.percentile(share) for share in (0.5, 0.99))
        self.story.details = {key: value for key, value in change.items() if value}
        self.story.row(**{key: change[key] for key in ("requests", "agreed", "dissent", "silence",
                                                       "split")},
                       wrong=len(wrong) - wrong_before, p50=p50 and p50 * 1e3, p99=p99 and p99 * 1e3)
        self.story.check(not wrong, "no count was wrong, told twice or taken back")
        return answered, change

    def tell(self):
        for step in (self.start, self.count, self.one_lies, self.one_forgets, self.proxy_dies,
                     self.both, self.healing):
            step()
        return COLUMNS, NOTE

    def start(self):
        self.story.step("starting")
        self.story.say("""A counter: each request makes it one higher, and the answer says how high. Three
            copies, two programs that share no code. A copy that misses one request is wrong for ever,
            so Quorate keeps a log of them.""")
        self.client = self.lab.client(addresses=["10.53.0.2/24"])
        self.appliance.start()
        self.counting = counter.Client(self.client.socket(), (SERVICE, PORT))
        self.lab.at_end.append(self.counting.connection.close)
        self.story.check(self.appliance.standings() == ["admitted"] * 3, "three replicas are admitted")

    def count(self):
        self.story.step("counting")
        answered, change = self.load()
        self.story.check(answered == LOAD, "every request was answered")
        self.story.check(self.counting.highest == self.counting.sent,
                         "the count is the number of requests")
        self.story.check(not change["dissent"], "nobody dissented")

    def one_lies(self):
        self.story.step("second lies")
        self.replica("second", "lie", "5")
        answered, change = self.load()
        self.story.check(answered == LOAD, "every request was answered")
        self.story.check(change["dissent"] == change["dissent second"] > 0,
                         "second, and only second, was seen to dissent")
        self.story.check(self.appliance.standings()[1] == "lagging",
                         "its vote no longer counts: whoever differs once has another state")
        self.replica("second", "honest")
        self.appliance.restart("second")
        self.story.check(True, "started anew and fed the log, it votes again")

    def one_forgets(self):
        self.story.step("third forgets")
        self.story.say("""third is ended and started again: a new process that knows nothing and would begin
            at 1. It is fed the log, and votes again only when it has caught up.""")
        self.appliance.restart("third")
        mine, other = self.replica("third", "state"), self.replica("first", "state")
        self.story.check(mine == other, f"third counts {mine}, like first")
        answered, change = self.load()
        self.story.check(answered == LOAD and not change["dissent"], "all three agree again")

    def proxy_dies(self):
        self.story.step("the proxy is killed")
        self.story.say("""In the middle of it, quorate-proxy is killed (SIGKILL) and started again. What it had
            promised is in the log.""")
        start, begun = self.counting.sent, []

        def kill_in_the_middle(number):
            if number == start + LOAD // 2:
                self.appliance.proxy.kill()
                begun.append(self.lab.start(self.appliance.proxy.argv, "proxy-again"))

        # The figures of this step start at the beginning of the second proxy or go on from the
        # first's; either way the client's answers are what counts.
        before_control = self.appliance.proxy.control
        try:
            answered = self.counting.ask(LOAD, pace=kill_in_the_middle)
        finally:
            if begun:
                begun[0].control = before_control
                self.appliance.proxy = begun[0]
        harness.wait_until(lambda: self.appliance.standings().count("admitted") >= 2, 20,
                           "a quorum is admitted again")
        self.story.figures(f"{LOAD:,} requests, {answered:,} answered")
        wrong = self.counting.wrong
        self.story.check(not wrong, "no count was wrong, told twice or taken back"
                         + (f": {wrong[:3]}" if wrong else ""))
        self.appliance.wait_admitted()
        states = [self.replica(name, "state") for name in ("first", "second", "third")]
        self.story.check(len(set(states)) == 1, f"all three count the same: {', '.join(states)}")

    def both(self):
        self.story.step("two faults")
        self.story.say("second lies and third is silent: nobody can tell who is right, so nothing leaves.")
        self.replica("second", "lie", "7")
        self.replica("third", "silent")
        answered, change = self.load(total=400)
        self.story.check(answered == 0, "no request was answered")
        self.story.check(change["split"] == 400, "each of them found no quorum")

    def healing(self):
        self.story.step("healing")
        self.replica("second", "honest")
        self.replica("third", "honest")
        answered, change = self.load()
        self.story.check(answered == LOAD, "every request is answered again")
        self.story.check(not change["dissent"] and not change["silence"], "nobody dissents or is silent")

    def hints(self):
        return [f"quorate status --config {self.config}",
                f"tell.py {self.lab.directory}/ear-second lie 3",
                f"quorate replica restart counter/third --config {self.config}"]
