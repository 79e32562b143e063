"""The GraphQL calls that the Dagster UI makes, made by a command.

Belongs here: requests and the reading of their answers. Does not belong here: what is launched.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from wonttrade_dagster.core.errors import WontTradeError

TIMEOUT_SECONDS = 60.0

_LAUNCH = """
mutation LaunchPartitionBackfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""

_BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill {
      status
      numPartitions
      runs(limit: 100) { runId status }
      error { message }
    }
    ... on BackfillNotFoundError { message }
    ... on PythonError { message }
  }
}
"""

_VERSION = "query { version }"


class DagsterError(WontTradeError):
    """The running Dagster did not do what was asked; says what it answered."""


class DagsterGraphQL:
    """A running Dagster webserver, e.g. that of ``wonttrade up``.

    Args:
        url: e.g. ``http://127.0.0.1:3000``.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/graphql"
        self._session = requests.Session()
        self._session.trust_env = False  # loopback: a proxy of the environment has no business here

    def version(self) -> str:
        """The webserver's version; the cheapest question there is."""
        return str(self._ask(_VERSION, {})["version"])

    def wait_until_up(self, seconds: float) -> None:
        """Return when the webserver answers. Raises ``DagsterError`` when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.version()
            except DagsterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
            else:
                return

    def launch_backfill(
        self,
        asset_keys: Sequence[Sequence[str]],
        partitions: Sequence[str],
        run_config: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str:
        """Launch a backfill exactly as the UI does; returns its id."""
        params = {
            "assetSelection": [{"path": list(key)} for key in asset_keys],
            "partitionNames": list(partitions),
            "fromFailure": False,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "runConfigData": dict(run_config),
        }
        answer = self._ask(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise DagsterError(
                f"Dagster refused the backfill: {answer.get('message') or answer['__typename']}"
            )
        return str(answer["backfillId"])

    def backfill(self, backfill_id: str) -> Mapping[str, Any]:
        """Status, runs and error of a backfill."""
        answer: Mapping[str, Any] = self._ask(_BACKFILL, {"id": backfill_id})["partitionBackfillOrError"]
        if "status" not in answer:
            raise DagsterError(f"Dagster knows no backfill {backfill_id}: {answer.get('message')}")
        return answer

    def _ask(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            response = self._session.post(
                self._url, json={"query": query, "variables": variables}, timeout=TIMEOUT_SECONDS
            )
            body = response.json()
        except (requests.RequestException, ValueError) as error:
            raise DagsterError(f"no Dagster answers at {self._url} ({type(error).__name__})") from None
        if body.get("errors"):
            raise DagsterError(f"Dagster at {self._url} answered: {body['errors'][0].get('message')}")
        data: Mapping[str, Any] = body["data"]
        return data
