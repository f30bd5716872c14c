"""What must add up once an appliance on Xen is idle: packets, ballots, requests of the rings, grants.

    accounts.settle(appliance)          everything that came in has left; nothing is held without need
    accounts.stop_replicas(appliance)   no replica any more, and nothing of one is left in Xen
    accounts.wait_for_grants({})        for tests without a proxy

Both wait, since late replies and expiring ballots take their time, and say what is left when that is over.
"""

import pathlib

import dom0
import grants
import harness
import replicas

SETTLED_SECONDS = 60


def unaccounted(status, ballots=True):
    """What of an idle proxy's status does not add up: texts. Without `ballots`, those that a killed
    predecessor had open are not asked for."""
    out = []
    conservation, packets = status["conservation"], status["packets"]
    if not conservation["balanced"] or conservation["held"]:
        out.append(f"packets: {conservation}")
    if packets["in_use"]:
        out.append(f"{packets['in_use']} of {packets['in_pools']} packets are in somebody's hands")
    for group in status["groups"]:
        ended = sum(group[key] for key in ("agreed", "split", "expired"))
        if ballots and group["requests"] != ended:
            out.append(f"{group['name']}: {group['requests']} requests, {ended} verdicts")
        for replica in group["replicas"]:
            rings = replica.get("netback") or {"ring_requests": 0, "ring_responses": 0}
            if rings["ring_requests"] != rings["ring_responses"]:
                out.append(f"{replica['name']}: {rings['ring_requests']} requests taken from its "
                           f"rings, {rings['ring_responses']} answered")
    return out


def rings(status):
    """{domain: how many of its pages the proxy has mapped}, by the proxy's account."""
    connections = [replica["netback"] for group in status["groups"] for replica in group["replicas"]
                   if replica.get("netback")]
    return {one["domain"]: 2 * one["queues"] for one in connections if one["domain"] is not None}


def wait_until_empty(find, what, deadline_s=SETTLED_SECONDS):
    """Until find() finds nothing; else its last words."""
    left = None

    def nothing():
        nonlocal left
        left = find()
        return not left

    try:
        harness.wait_until(nothing, deadline_s, what, pause_s=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}") from None


def listing_of_grants():
    """Xen writes it after the key's hypercall has returned, into a small ring: so that is emptied first."""
    def log(*options):
        return dom0.guests.run("xl", "dmesg", *options).stdout

    text = ""

    def whole():
        nonlocal text
        text = log()
        return grants.END in text

    log("-c")
    dom0.guests.run("xl", "debug-keys", "g")
    harness.wait_until(whole, 20, "Xen lists the grants", pause_s=0.05)
    return text


def grants_wrong(in_use):
    kind = pathlib.Path("/sys/hypervisor/guest_type")
    pins = 1 if kind.exists() and kind.read_text().strip() != "PV" else 2
    alive = set(dom0.guests.domains().values())
    return grants.wrong(grants.held(listing_of_grants()), in_use, alive, pins, disks(alive))


def disks(alive):
    """As grants.wrong() wants them."""
    references = {domain: dom0.xenstore(f"/local/domain/{domain}/device/vbd/51712/ring-ref")
                  for domain in alive}
    return {(domain, int(reference)) for domain, reference in references.items() if reference}


def wait_for_grants(in_use, deadline_s=SETTLED_SECONDS):
    """`in_use`: as rings() has it."""
    wait_until_empty(lambda: grants_wrong(in_use), "no page of a guest is held without need", deadline_s)


def settle(proxy, ballots=True):
    """`proxy` has status(): a replicas.Running, or a proxy's control."""
    wait_until_empty(lambda: unaccounted(proxy.status(), ballots), "everything is accounted for")
    wait_until_empty(lambda: grants_wrong(rings(proxy.status())),
                     "no page of a guest is held without need")


def stop_replicas(appliance):
    """Of a replicas.Running."""
    stop_all(appliance, lambda: appliance.quorate("replica", "stop", "--all"),
             f"quorate-{replicas.NAME}-")


def stop_all(proxy, stop, prefix):
    """`stop()` has all replicas stopped; the names of their domains begin with `prefix`."""
    settle(proxy, ballots=False)
    stop()
    wait_until_empty(lambda: rings(proxy.status()), "the proxy has let go of all rings")
    settle(proxy, ballots=False)
    left = [name for name in dom0.guests.domains() if name.startswith(prefix)]
    assert not left, f"domains are left: {left}"
