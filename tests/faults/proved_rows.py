"""Rows that tests of `make test` play whole where they stand: beat under a moved clock, platforms, words, addresses."""

from __future__ import annotations

from tests.faults.frame import Mechanism
from tests.faults.proved import proved_row

SCHEDULER = "tests/services/test_scheduler.py"
DELIVERY = "tests/services/test_delivery.py"
BROKER = "tests/services/test_embedded_broker.py"
TARGETS = "tests/services/test_targets.py"
CURL = "tests/services/test_curl.py"

NO_CLAIMS = """
from livectl.ops.beat import run_store
run_store.RunStore.claim = lambda self, due: [run_store.Claim(one.run, self._store_ms) for one in due]
run_store.RunStore.commit = lambda self, prepared, database: [
    [self.store.execute_command(c.verb, c.key, c.value) for c in run.commands] and "sent" for run in prepared
]
"""
WALL_CLOCK = """
import time
from livectl.ops.beat import run_store
run_store.StoreClock.take_jump = lambda self: 0
run_store.StoreClock.sync = lambda self, store_ms, asked_at, real=run_store.StoreClock.sync: (
    real(self, store_ms, asked_at) if self._read_at is None else None
)
"""
LOCAL_GAPS = """
from livectl.ops.schedules import due_times
real = due_times.next_due
def next_due(schedule, after):
    found = real(schedule, after)
    zone = str(getattr(schedule, "timezone", ""))
    return found and found + 3_600_000 if zone.startswith(("Europe", "America")) else found
due_times.next_due = next_due
"""
TAKES_ANYTHING = """
from livectl.ops.processes import state_dir
state_dir.PRIVATE_MODE = 0o777
"""
HIDES_NOTHING = "from livectl import redaction; redaction.redact_text = lambda text, *args: text"
REACHES_ALL = "from livectl.live.network import routes; routes.is_public = lambda address: True"
ONE_PAUSE = "from livectl.live.alerts import delivery; delivery.MAX_LANES = 0"
LOOSE_LIMITS = "from livectl import yamlfile; yamlfile.MAX_DEPTH = 64"  # none at all would take all memory
READS_ALL = """
from livectl.live.network import curl
def receive(self, chunk):
    self._body += chunk
curl.Transfer._receive_chunk = receive
"""

ROWS = (
    proved_row(
        "F15",
        "no beat for ten minutes: each entry once, or as it says",
        Mechanism("runs are claimed in the store", patch=NO_CLAIMS),
        f"{SCHEDULER}::test_after_a_long_stop_each_entry_runs_once_or_not_at_all",
        f"{SCHEDULER}::test_a_short_pause_loses_no_run",
        f"{SCHEDULER}::test_restarts_neither_double_nor_lose_a_run",
    ),
    proved_row(
        "F17",
        "data, schedule and store damaged, 27 kinds",
        Mechanism(
            "the good part is kept",
            patch="from livectl.ops.processes import broker_data; broker_data.BrokerData.look_over = lambda self: []",
        ),
        f"{BROKER}::test_of_damaged_data_the_good_part_is_kept_and_the_rest_is_said",
        f"{SCHEDULER}::test_a_file_that_cannot_be_used_leaves_the_schedule_as_it_was",
        f"{SCHEDULER}::test_a_file_that_is_gone_leaves_the_schedule_as_it_was",
        f"{SCHEDULER}::test_a_store_with_rubbish_in_it_is_used_all_the_same",
    ),
    proved_row(
        "F18",
        "the clock is set by an hour or a day, to and fro",
        Mechanism("the clock of all beats is the store's", patch=WALL_CLOCK),
        f"{SCHEDULER}::test_a_clock_that_is_set_costs_two_intervals_at_most",
        f"{SCHEDULER}::test_a_clock_set_back_repeats_no_daily_run",
    ),
    proved_row(
        "F19",
        "summer time begins and ends, in three zones",
        Mechanism("due times are instants in UTC", patch=LOCAL_GAPS),
        f"{SCHEDULER}::test_no_run_is_lost_or_doubled_where_the_clock_is_changed",
        "tests/unit/test_due_times.py::test_around_a_change_of_the_clock_runs_are_those_of_the_wall",
    ),
    proved_row(
        "F24",
        "platforms refuse, break, fall silent, answer too much or too slowly; streams flap",
        Mechanism("an answer has a limit", patch=READS_ALL),
        f"{CURL}::test_an_answer_is_cut_off_when_it_is_too_long",
        f"{CURL}::test_a_packed_bomb_is_cut_off_too",
        f"{CURL}::test_who_takes_too_long_is_not_there",
        "tests/services/test_store_truth.py",
        "tests/acceptance/test_many_lives.py::test_a_thousand_lives_end_as_planned",
    ),
    proved_row(
        "F25",
        "receivers in all moods, and workers killed meanwhile",
        Mechanism("what a target takes ill waits aside", patch=ONE_PAUSE),
        DELIVERY,
    ),
    proved_row(
        "F26",
        "documents and bombs of YAML",
        Mechanism("documents have limits", patch=LOOSE_LIMITS),
        "tests/unit/test_yamlfile.py",
    ),
    proved_row(
        "F27",
        "marked secrets in settings, addresses, arguments and errors",
        Mechanism("what is shown is redacted", patch=HIDES_NOTHING),
        "tests/unit/test_redaction.py",
        "tests/services/test_words_kept_in.py",
    ),
    proved_row(
        "F28",
        "addresses that lead inside: spellings, redirects, names that change",
        Mechanism("each address is judged when it is connected to", patch=REACHES_ALL),
        "tests/services/test_routes.py",
        f"{TARGETS}::test_apprise_reaches_no_private_network_unless_it_may",
        f"{TARGETS}::test_every_way_out_is_judged_while_apprise_sends_and_no_other",
        f"{CURL}::test_a_redirect_to_where_we_may_not_go_is_the_answer",
    ),
    proved_row(
        "F29",
        "another user of the machine at the broker and the page",
        Mechanism("folders are closed to others", patch=TAKES_ANYTHING),
        f"{BROKER}::test_another_user_is_refused_by_the_folder",
        f"{BROKER}::test_nobody_else_gets_in",
        "tests/acceptance/test_up.py::test_programs_find_the_page_though_its_usual_port_is_taken",
    ),
)
