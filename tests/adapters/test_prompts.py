import json
import shutil
from pathlib import Path

import pytest

from wonttrade_dagster.adapters.prompts import load_prompt
from wonttrade_dagster.core.errors import ConfigurationError
from wonttrade_dagster.core.reply import Reply, TargetReply

PROMPTS = Path(__file__).parents[2] / "prompts"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    shutil.copytree(PROMPTS / "trader" / "v1", tmp_path / "mine" / "v1")
    return tmp_path


def test_a_prompt_is_read_and_hashed() -> None:
    template = load_prompt(PROMPTS, "trader/v1")
    assert template.name == "trader/v1"
    assert "Hyperliquid" in template.system_source
    assert template.schema["type"] == "object"
    assert len({template.template_sha256, template.schema_sha256}) == 2
    assert {len(template.template_sha256), len(template.schema_sha256)} == {64}


def test_hashes_follow_the_files_and_not_the_place(prompts: Path) -> None:
    shipped, copied = load_prompt(PROMPTS, "trader/v1"), load_prompt(prompts, "mine/v1")
    assert copied.template_sha256 == shipped.template_sha256
    (prompts / "mine/v1/user.md.j2").write_text("other")
    changed = load_prompt(prompts, "mine/v1")
    assert changed.template_sha256 != shipped.template_sha256
    assert changed.schema_sha256 == shipped.schema_sha256


def test_text_moved_from_one_message_to_the_other_is_another_template(prompts: Path) -> None:
    folder = prompts / "mine/v1"
    (folder / "system.md.j2").write_text("ab")
    (folder / "user.md.j2").write_text("c")
    before = load_prompt(prompts, "mine/v1").template_sha256
    (folder / "system.md.j2").write_text("a")
    (folder / "user.md.j2").write_text("bc")
    assert load_prompt(prompts, "mine/v1").template_sha256 != before


@pytest.mark.parametrize("name", ["", "..", "../prompts/trader/v1", "/etc", "trader/../../x", "."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"llm\.prompt"):
        load_prompt(PROMPTS, name)


def test_a_prompt_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="trader/v99"):
        load_prompt(PROMPTS, "trader/v99")


@pytest.mark.parametrize("file", ["system.md.j2", "user.md.j2", "schema.json"])
def test_a_missing_file_is_named(prompts: Path, file: str) -> None:
    (prompts / "mine/v1" / file).unlink()
    with pytest.raises(ConfigurationError, match=file):
        load_prompt(prompts, "mine/v1")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"type": "array"}', b"\xff\xfe"])
def test_a_broken_schema_is_refused(prompts: Path, content: bytes) -> None:
    (prompts / "mine/v1/schema.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"schema\.json"):
        load_prompt(prompts, "mine/v1")


def test_the_shipped_schema_asks_for_what_the_judgement_takes() -> None:
    schema = json.loads((PROMPTS / "trader/v1/schema.json").read_text())
    item = schema["properties"]["targets"]["items"]
    for part, model in ((schema, Reply), (item, TargetReply)):
        assert set(part["properties"]) == set(model.model_fields)
        # Strict mode of the API: every property required, none beside them.
        assert set(part["required"]) == set(part["properties"])
        assert part["additionalProperties"] is False
    assert schema["properties"]["prior_plan"]["enum"] == ["kept", "replaced", "none"]
