"""The lease: one process trades an account at a time."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wonttrade_dagster.adapters.lease import AccountLease
from wonttrade_dagster.core.errors import LeaseError, StorageError

ACCOUNT = "0x" + "aB" * 20

_HOLDER = """
import sys, time
from pathlib import Path
from wonttrade_dagster.adapters.lease import AccountLease
lease = AccountLease(Path(sys.argv[1]), sys.argv[2], "testnet")
lease.acquire()
print("held", flush=True)
time.sleep(60)
"""


def holder(data_dir: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _HOLDER, str(data_dir), ACCOUNT]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_by_name_until_the_first_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    lease = AccountLease(tmp_path, ACCOUNT.lower(), "testnet")
    try:
        with pytest.raises(
            LeaseError, match=rf"is being traded by process {process.pid} on \S+: stop that one"
        ):
            lease.acquire()
        assert not lease.is_held
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    lease.acquire()
    assert lease.is_held
    lease.release()


def test_accounts_and_networks_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    other = "0x" + "cd" * 20
    with (
        AccountLease(tmp_path, ACCOUNT, "testnet") as first,
        AccountLease(tmp_path, ACCOUNT, "mainnet") as second,
        AccountLease(tmp_path, other, "testnet") as third,
    ):
        assert first.is_held
        assert second.is_held
        assert third.is_held
    assert not first.is_held


def test_taking_a_lease_that_is_ours_is_nothing_new(tmp_path: Path) -> None:
    lease = AccountLease(tmp_path, ACCOUNT, "testnet")
    lease.acquire()
    lease.acquire()
    lease.release()
    lease.release()
    AccountLease(tmp_path, ACCOUNT, "testnet").acquire()


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with (
        AccountLease(tmp_path, ACCOUNT, "testnet"),
        pytest.raises(LeaseError, match=f"process {os.getpid()}"),
    ):
        AccountLease(tmp_path, ACCOUNT, "testnet").acquire()


def test_the_lease_is_the_processs_and_not_the_threads(tmp_path: Path) -> None:
    lease = AccountLease(tmp_path, ACCOUNT, "testnet")
    thread = threading.Thread(target=lease.acquire)
    thread.start()
    thread.join()
    lease.acquire()
    lease.release()
    AccountLease(tmp_path, ACCOUNT, "testnet").acquire()


def test_after_the_data_directory_is_deleted_the_lease_is_taken_anew(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    lease = AccountLease(data_dir, ACCOUNT, "testnet")
    lease.acquire()
    shutil.rmtree(data_dir)
    lease.acquire()
    assert lease.path.exists()
    with pytest.raises(LeaseError):
        AccountLease(data_dir, ACCOUNT, "testnet").acquire()


def test_who_lost_the_lease_with_its_file_is_told_who_has_it_now(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    lease = AccountLease(data_dir, ACCOUNT, "testnet")
    lease.acquire()
    shutil.rmtree(data_dir)
    process = holder(data_dir)
    try:
        with pytest.raises(LeaseError, match=f"process {process.pid}"):
            lease.acquire()
        assert not lease.is_held
    finally:
        process.kill()
        process.communicate()


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="did not take a write"):
        AccountLease(tmp_path / "file", ACCOUNT, "testnet").acquire()


def test_a_disk_that_does_not_take_the_holders_name_does_not_refuse_the_lease(tmp_path: Path) -> None:
    lease = AccountLease(tmp_path, ACCOUNT, "testnet")
    lease.path.with_suffix(".json").mkdir(parents=True)  # what a full disk does: the name cannot be written
    with lease:
        assert lease.is_held
        with pytest.raises(LeaseError, match="being traded by another process"):
            AccountLease(tmp_path, ACCOUNT, "testnet").acquire()
