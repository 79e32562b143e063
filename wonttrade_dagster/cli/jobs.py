"""Running a job of the graph in this process, on the persistent home.

Belongs here: the call, and the one sentence of a failed step. Does not belong here: which job, and why.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

import dagster as dg

from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.core.errors import StorageError, WontTradeError
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.settings import Settings

QUIET: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_job(
    settings: Settings,
    job_name: str,
    *,
    partition_key: str | None = None,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Run a job to its end; it is stored as a run like any other.

    Raises:
        StorageError: Dagster could not write down the run.
        WontTradeError: a step failed; its sentence.
    """
    job = build_defs(settings.path).resolve_job_def(job_name)
    home = prepare_home(settings)
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            result = job.execute_in_process(
                instance=instance,
                partition_key=partition_key,
                run_config={**QUIET, **(run_config or {})},
                tags=dict(tags or {}),
                raise_on_error=False,
            )
    except Exception as error:
        reason = getattr(error, "orig", error)  # what SQLAlchemy wraps
        if not isinstance(reason, sqlite3.Error):
            raise
        raise StorageError(
            f"Dagster cannot write its runs in {home} ({reason}): free the disk, or move the folder away "
            "if it is damaged; results that were written are kept"
        ) from error
    if not result.success:
        raise WontTradeError(_sentence(result))


def _sentence(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            return f"{event.step_key}: {data.error.message.strip() if data.error else 'failed'}"
    return "the run failed before its first step: see the run in the Dagster UI"
