"""`inborn up --metrics`: what is documented is what is served, by the front and by the agent."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.rigs.scraping import scrape
from tests.rigs.up_rig import up, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monitor.md"


def test_every_metric_that_the_page_names_is_served_and_each_side_is_well(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--metrics") as running:
        running.wait_for("metrics at")
        of_front, of_agent = map(int, re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", running.stderr))
        wait_until(lambda: asyncio.run(scrape(of_agent)).value("inborn_agent_connected") == 1, "the CA's stream")
        front, agent = asyncio.run(scrape(of_front)), asyncio.run(scrape(of_agent))
        assert agent.value("inborn_agent_heard_seconds") >= 0
        assert agent.value("inborn_agent_svid_expires_seconds") > 6 * 24 * 3600
        assert front.value("inborn_ca_streams") == 1
        assert front.value("inborn_ca_calls_total", method="/inborn.v1.Bootstrap/Enroll", outcome="ok") == 1
    named = set(re.findall(r"`(inborn_(?:ca|agent)_[a-z_]+)", PAGE.read_text()))
    # A counter is called without its suffix in the family, and has no series before it has counted.
    served = {name for scraped in (front, agent) for name in (*scraped.names(), *scraped.families)}
    assert len(named) >= 20
    assert {name for name in named if {name, name.removesuffix("_total")}.isdisjoint(served)} == set()
