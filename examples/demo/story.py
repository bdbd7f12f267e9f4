"""The story of the demo, chapter by chapter. Each claim is a check of what processes reported or commands answered."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time

from examples.demo.cast import DOMAIN, PAY, SHOP, STOCK, Cast
from examples.demo.container import LABEL, DemoContainer, Engine, EngineMissing, find_engine
from examples.demo.interruption import Interruptions
from examples.demo.narration import CheckFailed, Narrator, after
from examples.demo.processes import PATIENCE, Process
from examples.demo.programs import User
from examples.demo.stage import Stage
from examples.demo.taking_back import revocation, unblocking

__all__ = ["tell"]

# Seconds: long enough for a slow machine to renew at half of it, short enough to watch.
_TTL = 4
_ROTATIONS = 3


def tell(narrator: Narrator, interruptions: Interruptions) -> None:
    """Tell it. Raises `CheckFailed` at the first check that does not hold."""
    narrator.title("Inborn: daemons get an identity at start, use it, rotate it, and lose it. Every [ok] was checked.")
    search = _EngineSearch()
    with Stage(narrator, interruptions) as stage:
        engine = _start(narrator, stage, search)
        cast = _identities(narrator, stage)
        _traffic(narrator, cast)
        _stranger(narrator, stage)
        if engine is not None:
            _container(narrator, stage, cast, engine)
        _rotations(narrator, cast)
        shop_serial = revocation(narrator, stage, cast)
        unblocking(narrator, stage, cast, shop_serial)
        _end(narrator, stage, cast, shop_serial)


class _EngineSearch:
    """Looks for a Docker engine while other things happen."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._reason = ""
        self._thread = threading.Thread(target=self._search, daemon=True)
        self._thread.start()

    def result(self) -> tuple[Engine | None, str]:
        """The engine, or the reason why there is none."""
        self._thread.join()
        return self._engine, self._reason

    def _search(self) -> None:
        try:
            self._engine = find_engine()
        except EngineMissing as missing:
            self._reason = str(missing)


def _start(narrator: Narrator, stage: Stage, search: _EngineSearch) -> Engine | None:
    narrator.chapter("A certificate authority and an agent, under one command")
    narrator.command(["export", f"INBORN_DATA_DIR={stage.data}"])
    engine, reason = search.result()
    words = [] if engine is None or engine.is_default else ["--docker-socket", engine.socket]
    began = time.monotonic()
    up = stage.up("--trust-domain", DOMAIN, "--min-ttl", "1s", *words)
    stage.choose_users(4)
    up.wait_for_text(f"unix://{stage.socket}")
    narrator.check(
        f"signer, front and agent of trust domain {DOMAIN} are ready after {time.monotonic() - began:.2f} s",
        stage.socket.is_socket(),
        expected=f"a socket at {stage.socket}",
        seen="none",
    )
    if stage.users:
        uids = ", ".join(str(user.uid) for user in stage.users)
        narrator.say(f"Each daemon gets a user of its own ({uids}): what one user holds, another cannot take.")
    else:
        narrator.say(
            f"All daemons share uid {os.geteuid()}: {stage.why_one_user}. One uid is no security boundary: processes "
            "of one user can read each other's memory. The entries below tell programs apart, not parties."
        )
    if engine is None:
        narrator.say(f"Left out: the daemon in a container, because {reason}.")
    return engine


def _selectors(stage: Stage, name: str, user: User | None) -> list[str]:
    uid = os.geteuid() if user is None else user.uid
    return ["--selector", f"unix:uid:{uid}", "--selector", f"unix:path:{stage.program(name)}"]


def _identities(narrator: Narrator, stage: Stage) -> Cast:
    narrator.chapter("Two daemons, two executables: the kernel says who they are")
    for name in ("pay", "shop"):
        stage.program(name)
    pay_place = stage.place("pay", stage.user(0))
    customers = ["--customer", SHOP, "--customer", STOCK]
    pay = stage.daemon("pay", "pay", stage.user(0), "--unix", str(pay_place / "pay.sock"), *customers)
    shop = stage.daemon("shop", "shop", stage.user(1), "--server", PAY)
    for process in (pay, shop):
        started = process.wait("started")
        narrator.check(
            f"{process.name}: pid {process.pid}, uid {started.facts['uid']}, {started.facts['executable']}; waits for "
            "an identity",
            not process.reports("identity"),
            expected="no identity before there is an entry",
            seen=process.reports("identity"),
        )
    for process, spiffe_id, user in ((pay, PAY, stage.user(0)), (shop, SHOP, stage.user(1))):
        done = stage.inborn(
            "entry", "create", "--id", spiffe_id, *_selectors(stage, process.name, user), "--ttl", f"{_TTL}s"
        )
        identity = process.wait("identity", expected=f"an SVID for {spiffe_id}")
        narrator.check(
            f"{process.name} is {identity.facts['id']}, {after(identity.at, done.returned, 'the command returned')}",
            identity.facts["id"] == spiffe_id,
            expected=spiffe_id,
            seen=identity.facts["id"],
        )
    return Cast(pay=pay, shop=shop)


def _traffic(narrator: Narrator, cast: Cast) -> None:
    narrator.chapter("Mutual TLS between them, without a pause from now on")
    began = time.monotonic()
    cast.shop.say(f"go tcp {cast.pay.wait('listening').facts['port']}")
    first = cast.shop.wait("answered", where=lambda facts: facts["kind"] == "open")
    cast.shop.wait("answered", where=lambda facts: facts["kind"] == "new")
    narrator.confirm(
        f"shop asks pay over one open connection and over a new one each time; first answer after "
        f"{(first.at - began) * 1000:.0f} ms"
    )


def _stranger(narrator: Narrator, stage: Stage) -> None:
    narrator.chapter("A third process asks, and is not entitled")
    stranger = stage.daemon("stranger", "stranger", stage.user(3))
    narrator.command(["inborn", "svid", "fetch", "--timeout", "1s"], "as the third process")
    status = stranger.wait("asked").facts["status"]
    said = stranger.log.read_text(errors="replace")
    narrator.output(said)
    narrator.check(
        f"refused: exit status {status}",
        status == 1 and "error:" in said,
        expected="exit status 1 and one line that says why",
        seen=f"exit status {status}, {said!r}",
    )
    done = stage.inborn("why", "--pid", str(stranger.pid))
    narrator.output(done.out)
    missed = [line for line in done.out.splitlines() if " misses " in line]
    path = f"unix:path:{stage.program('shop')}"
    narrator.check(
        "inborn why names, for each entry, the selectors that it misses",
        len(missed) == 2 and any(path in line and SHOP in line for line in missed) and " matches" not in done.out,
        expected=f"two entries missed, one of them by {path}",
        seen=done.out,
    )
    stranger.end()


def _container(narrator: Narrator, stage: Stage, cast: Cast, engine: Engine) -> None:
    narrator.chapter(f"A container as the third daemon (Docker {engine.version}; nothing is pulled)")
    container = DemoContainer(engine, f"inborn-demo-{secrets.token_hex(4)}")
    stage.adopt(container)
    user = stage.user(2)
    uid = os.geteuid() if user is None else user.uid
    try:
        narrator.command(["docker", "import", "-", container.image], "a tree of empty directories")
        container.make_image()
        stock = stage.daemon_in(container, "stock", "shop", user, "--server", PAY)
    except EngineMissing as error:
        raise CheckFailed("the engine imports an image", expected="it does", seen=str(error)) from error
    cast.stock = stock
    began = time.monotonic()
    words = ["docker", "run", "--network=none", "--read-only", f"--label={LABEL}=stock", container.image, "..."]
    narrator.command(words, "the host's own directories are mounted read-only")
    started = stock.wait("started", expected="the container starts")
    narrator.check(
        f"{container.name} runs after {started.at - began:.2f} s: its own root, no network, no capability, uid {uid}; "
        "it waits for an identity",
        not stock.reports("identity"),
        expected="no identity before there is an entry",
        seen=stock.reports("identity"),
    )
    selectors = (f"docker:image_config_digest:{container.digest}", f"docker:label:{LABEL}:stock", f"unix:uid:{uid}")
    words = [word for selector in selectors for word in ("--selector", selector)]
    done = stage.inborn("entry", "create", "--id", STOCK, *words, "--ttl", f"{_TTL}s")
    identity = stock.wait("identity", expected=f"an SVID for {STOCK}")
    narrator.check(
        f"the container is {identity.facts['id']}, {after(identity.at, done.returned, 'the command returned')}",
        identity.facts["id"] == STOCK,
        expected=STOCK,
        seen=identity.facts["id"],
    )
    stock.say(f"go unix {stage.directory / 'pay' / 'pay.sock'}")
    stock.wait("answered", where=lambda facts: facts["kind"] == "open")
    narrator.confirm("it asks pay as well, mutual TLS over a UNIX socket")


def _serials(process: Process) -> list[str]:
    return list(dict.fromkeys(str(report.facts["serial"]) for report in process.reports("identity")))


def _wait_for_rotations(cast: Cast) -> None:
    for process in cast.daemons():
        wanted = 1 if process is cast.stock else _ROTATIONS  # it has come later
        deadline = time.monotonic() + PATIENCE
        position = process.position
        while len(_serials(process)) <= wanted:
            process.wait("identity", after=position, patience=max(0.0, deadline - time.monotonic()))
            position = process.position


def _rotations(narrator: Narrator, cast: Cast) -> None:
    narrator.chapter(f"Certificates of {_TTL} seconds, rotated under traffic")
    daemons = cast.daemons()
    _wait_for_rotations(cast)
    times = ", ".join(f"{process.name} {len(_serials(process)) - 1}" for process in daemons)
    narrator.confirm(f"times that each has been rotated: {times}")
    for process in daemons[1:]:
        counts = process.ask("count", "counted").facts["counts"]
        opened, new = counts["open"], counts["new"]
        failures = [str(report.facts["reason"]) for report in process.reports("failed")]
        narrator.check(
            f"{process.name}: {opened['answered']} requests over the open connection (the next one is opened before a "
            f"certificate ends: {opened['opened']} in all), {new['answered']} over new ones; 0 failed",
            opened["failed"] + new["failed"] == 0 and not failures,
            expected="no failed request",
            seen=f"{opened['failed']} and {new['failed']} failed: {'; '.join(failures)}",
        )


def _end(narrator: Narrator, stage: Stage, cast: Cast, old_serial: str) -> None:
    narrator.chapter("The end")
    done = stage.inborn("certs", "list", "--history", "--json")
    revoked_by = {str(row["serial"]): int(row.get("revoked_by", 0)) for row in json.loads(done.out)}
    used = {serial for process in cast.daemons() for serial in _serials(process)}
    narrator.check(
        f"the ledger has each of the {len(used)} certificates that the daemons have had",
        used <= revoked_by.keys(),
        expected="a row for each",
        seen=f"none for {', '.join(sorted(used - revoked_by.keys()))}",
    )
    newest = _serials(cast.shop)[-1]
    narrator.check(
        f"shop's old certificate is revoked for ever (revocation {revoked_by[old_serial]}), its new one is not",
        revoked_by[old_serial] > 0 and revoked_by[newest] == 0,
        expected=f"{old_serial} revoked, {newest} not",
        seen=f"revocations {revoked_by[old_serial]} and {revoked_by[newest]}",
    )
    answered = cast.pay.ask("count", "counted").facts["answered"]
    began = time.monotonic()
    forced = stage.end()
    narrator.check(
        f"pay answered {answered} requests; everything was stopped in order, in {time.monotonic() - began:.2f} s",
        not forced,
        expected="every process ends when it is told to",
        seen=f"ended by force: {', '.join(forced)}",
    )
    narrator.title(f"\nAll {narrator.checks} checks held, in {narrator.elapsed():.1f} s.")
