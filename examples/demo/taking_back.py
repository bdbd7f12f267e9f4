"""The last chapters of the story: an identity is revoked, and unblocked."""

from __future__ import annotations

import time

from examples.demo.cast import SHOP, Cast
from examples.demo.narration import Narrator, after
from examples.demo.processes import Process
from examples.demo.stage import Stage

__all__ = ["revocation", "unblocking"]


# Younger than this, a certificate outlives the revocation by far, and nobody can take its end for it.
_FRESH = 0.8  # seconds


def _wait_for_fresh_certificate(shop: Process) -> None:
    position = shop.position
    if time.monotonic() - shop.reports("identity")[-1].at > _FRESH:
        shop.wait("identity", after=position, expected="it is rotated")


def revocation(narrator: Narrator, stage: Stage, cast: Cast) -> str:
    """Its peer refuses it, on the open connection and on new ones, and it gets nothing new. Gives its serial."""
    narrator.chapter("One identity is revoked")
    narrator.say("First somebody takes a copy of shop's key and certificate, and asks with it as well:")
    shop, pay = cast.shop, cast.pay
    _wait_for_fresh_certificate(shop)
    serial = str(shop.ask("copy", "copied").facts["serial"])
    shop.wait("answered", where=lambda facts: facts["kind"] == "copy")
    narrator.confirm("the copy is answered, while it is good")
    shop_before, pay_before = shop.position, pay.position
    done = stage.inborn("revoke", "--id", SHOP, "--reason", "keyCompromise", "--wait")
    narrator.output(done.out + done.err)
    closed = pay.wait(
        "closed",
        after=pay_before,
        where=lambda facts: facts["peer"] == SHOP and "revoked" in facts["reason"],
        expected="pay closes shop's open connection, because it is revoked",
    )
    shop.wait("failed", after=shop_before, where=lambda facts: facts["kind"] == "open")
    narrator.confirm(
        f"pay closed the connection that was open, {after(closed.at, done.returned, 'the command returned')} "
        f"({(closed.at - done.began) * 1000:.0f} ms after it was typed)"
    )
    refused = pay.wait(
        "log",
        after=pay_before,
        where=lambda facts: "peer refused" in facts["text"] and "revoked" in facts["text"],
        expected="pay refuses the copy, because it is revoked",
    )
    shop.wait("failed", after=shop_before, where=lambda facts: facts["kind"] == "copy")
    narrator.confirm(f"pay refuses new connections with the copy: {refused.facts['text'].partition('reason=')[2]}")
    last = float(shop.ask("count", "counted").facts["counts"]["copy"]["last_answered"])
    narrator.check(
        f"the last connection that was answered began {after(last, done.returned, 'the command returned')}",
        last <= done.returned,
        expected="none after the command returned",
        seen=after(last, done.returned, "it"),
    )
    shop.wait("no identity", after=shop_before, expected="shop's own identity is taken back")
    again = stage.inborn(
        "svid",
        "fetch",
        "--timeout",
        "1s",
        program=stage.program("shop"),
        user=stage.user(1),
        note="as shop",
        is_fine=False,
    )
    narrator.output(again.err)
    narrator.check(
        f"nothing new is issued: exit status {again.status}",
        again.status == 1 and "error: no identity: " in again.err and "blocked" in again.err,
        expected="exit status 1 and one line that says that it is blocked",
        seen=f"exit status {again.status}, {again.err!r}",
    )
    counts = shop.ask("count", "counted").facts["counts"]
    narrator.check(
        f"{counts['copy']['failed']} requests with the copy were refused meanwhile",
        counts["copy"]["last_answered"] == last and counts["copy"]["failed"] > 1,
        expected="every one is refused",
        seen=counts,
    )
    if cast.stock is not None:
        failures = [str(report.facts["reason"]) for report in cast.stock.reports("failed")]
        narrator.check(
            "stock, beside it, did not notice: 0 failed", not failures, expected="no failed request", seen=failures
        )
    return serial


def unblocking(narrator: Narrator, stage: Stage, cast: Cast, old_serial: str) -> None:
    """It has an identity again, and not the old one."""
    narrator.chapter("It is unblocked")
    shop, before = cast.shop, cast.shop.position
    done = stage.inborn("unblock", "--id", SHOP)
    identity = shop.wait("identity", after=before, expected="shop has an identity again")
    narrator.check(
        f"shop has a new certificate {after(identity.at, done.returned, 'the command returned')}",
        identity.facts["serial"] != old_serial and identity.facts["id"] == SHOP,
        expected=f"another serial than {old_serial}",
        seen=identity.facts,
    )
    answered = [
        shop.wait("answered", after=before, where=lambda facts: facts["kind"] == "open"),
        shop.wait("answered", after=before, where=lambda facts: facts["kind"] == "new"),
    ]
    narrator.confirm(
        f"traffic flows again, {after(max(r.at for r in answered), done.returned, 'the command returned')}"
    )
