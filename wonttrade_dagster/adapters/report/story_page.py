"""The story of a cycle as one HTML page that needs nothing but a browser.

Belongs here: rendering it; the markup is in ``story.html.j2``. Does not belong here: its words (``story``).

Every text is escaped by the template, and a content security policy forbids the page to run, load or send
anything.
"""

from pathlib import Path

from wonttrade_dagster.adapters.files import replace_atomically, storage_error
from wonttrade_dagster.adapters.report.page import page_environment
from wonttrade_dagster.adapters.report.story import Story


def render_story(story: Story) -> str:
    """The whole page."""
    return page_environment().get_template("story.html.j2").render(story=story)


def write_story(path: Path, story: Story) -> None:
    """Write the page; an existing one is replaced. Raises ``StorageError``."""
    try:
        # Half of a surrogate pair, which a model may send, is shown as a question mark.
        replace_atomically(path, render_story(story).encode(errors="replace"))
    except OSError as error:
        raise storage_error(path, error) from error
