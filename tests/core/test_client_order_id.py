import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonttrade_dagster.core.client_order_id import account_tag, cloid, is_ours

ADDRESS = "0xAbCdEf0123456789aBcDeF0123456789abcdef01"
steps = st.tuples(
    st.integers(0, 2**45), st.sampled_from(["BTC", "ETH", "kPEPE"]), st.text(max_size=12), st.integers(0, 9)
)


def test_the_tag_ignores_the_case_of_the_address_and_tells_networks_apart() -> None:
    assert account_tag(ADDRESS, "mainnet") == account_tag(ADDRESS.lower(), "mainnet")
    assert account_tag(ADDRESS, "mainnet") != account_tag(ADDRESS, "testnet")


def test_an_id_never_changes_between_versions() -> None:
    assert cloid("0badc0de", 1_790_000_000_000, "BTC", "open", 0) == "0x0badc0de65c956a2131f6080b0832b28"


@given(steps, steps)
def test_ids_are_16_hex_bytes_and_equal_only_for_the_same_step(
    one: tuple[int, str, str, int], two: tuple[int, str, str, int]
) -> None:
    first, second = cloid("0badc0de", *one), cloid("0badc0de", *two)
    assert len(first) == 34
    assert int(first, 16) >= 0
    assert (first == second) == (one == two)


@given(steps)
def test_only_orders_with_our_tag_are_ours(step: tuple[int, str, str, int]) -> None:
    ours = cloid("0badc0de", *step)
    assert is_ours(ours, "0badc0de")
    assert is_ours(ours.upper().replace("0X", "0x"), "0badc0de")
    assert not is_ours(ours, "deadbeef")
    assert not is_ours(None, "0badc0de")


@pytest.mark.parametrize("tag", ["", "0badc0d", "0badc0dee", "0BADC0DE", "0badc0dg"])
def test_a_tag_of_another_form_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="8 lower-case hex digits"):
        cloid(tag, 0, "BTC", "open", 0)
