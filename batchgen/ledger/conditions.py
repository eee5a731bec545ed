"""Conditions and queries in SQL about the rows of a ledger, for its reader."""

from __future__ import annotations

from batchgen.ledger.transitions import ABANDONED, MAY_BE_PAID
from batchgen.models import State

# Rows whose external_task_id or base_id is in a JSON array.
NAMED = (
    "(external_task_id IN (SELECT value FROM json_each(?1))"
    " OR (base_id IN (SELECT value FROM json_each(?1)) AND external_task_id <> base_id))"
)
# When a row came into its state. Events that change no state, such as another try of a download, don't count.
SINCE = "(SELECT at FROM events WHERE task = {0}.id AND from_state IS NOT to_state ORDER BY id DESC LIMIT 1)"
LAST_STEP = SINCE.replace("SELECT at", "SELECT id")
# A row that was never paid, or failed, is reported only while no other row of its job has changed after it.
LAST_WORD = f"""NOT EXISTS (
    SELECT 1 FROM tasks AS other WHERE other.manifest = tasks.manifest AND other.job_id = tasks.job_id
    AND other.take = tasks.take AND other.id <> tasks.id
    AND {LAST_STEP.format("other")} > {LAST_STEP.format("tasks")})"""
# Whether a row has its job's current clip: the newest row that may be paid, and isn't superseded.
CURRENT = f"""(state IN ({", ".join(f"'{state}'" for state in MAY_BE_PAID)}) AND id = (
    SELECT max(id) FROM tasks AS own WHERE own.manifest = tasks.manifest AND own.job_id = tasks.job_id
    AND own.take = tasks.take AND own.state IN ({", ".join(f"'{state}'" for state in MAY_BE_PAID)})
    AND (instr(own.output_path, '/superseded/') = 0 OR instr('/' || own.job_id, '/superseded/') > 0)))"""
# What transitions.may_be_charged says of a row; a test holds the two together.
MAY_BE_CHARGED = f"state <> '{State.PENDING}' AND (state <> '{State.REJECTED}' OR (error_code IS '{ABANDONED}' AND attempt > 0))"
HALF_DIGEST = "substr(digest, 1, 16)"  # which has an index; 64 bits tell rows apart
# Rows are never deleted, so the last one's number is how many there are. Years of downloaded ones are not counted one by one.
COUNTS = "SELECT NULL, ifnull(max(id), 0) FROM tasks" + "".join(
    f" UNION ALL SELECT state, count(*) FROM tasks WHERE state {side} 'downloaded' GROUP BY state"
    for side in "<>"
)
