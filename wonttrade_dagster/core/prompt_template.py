"""Compiling and rendering the Jinja2 templates of a prompt.

Belongs here: the environment, and rendering without a function call for each attribute.
Does not belong here: what a template sees (``core.context``), its names (``core.prompt_names``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from keyword import iskeyword

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

from wonttrade_dagster.core.errors import ConfigurationError

_NOT_RENDERED = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What rendering raises when a template names what is not there, or computes what cannot be computed."""


class _PlainAttributes(CodeGenerator):
    """Writes ``facts.account`` as the plain attribute that it is; Jinja would call a function for it."""

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802 (as Jinja calls it)
        """An attribute that is not there raises ``AttributeError``."""
        if iskeyword(node.attr):  # which Python has no such expression for
            super().visit_Getattr(node, frame)
            return
        self.write("(")
        self.visit(node.node, frame)
        self.write(f").{node.attr}")

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        """Gathers the message in a list: Jinja would stop and go on for each of its hundreds of pieces."""
        if frame.buffer is not None or not frame.toplevel:
            super().blockvisit(nodes, frame)
            return
        self.buffer(frame)
        super().blockvisit(nodes, frame)
        self.writeline(f"yield concat({frame.buffer})")


class _Environment(jinja2.Environment):
    def __init__(self) -> None:
        # Markdown, not HTML: nothing to escape. Foreign text is made harmless before it gets here (`quoted`).
        super().__init__(
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )


class _PlainEnvironment(_Environment):
    code_generator_class = _PlainAttributes


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """One message's template.

    Attributes:
        name: of the prompt, for errors.
    """

    name: str
    _plain: jinja2.Template
    _usual: jinja2.Template

    @classmethod
    def of(cls, name: str, source: str) -> "CompiledTemplate":
        """Raises ``ConfigurationError`` for what is no template."""
        try:
            plain, usual = (each().from_string(source) for each in (_PlainEnvironment, _Environment))
        except jinja2.TemplateSyntaxError as error:
            raise ConfigurationError(f"prompt {name}, line {error.lineno}: {error.message}") from error
        except SyntaxError as error:  # Jinja understood it, and Python not what Jinja made of it
            raise ConfigurationError(f"prompt {name} cannot be compiled: {error.msg}") from error
        return cls(name, plain, usual)

    def rendered(self, seen: Mapping[str, object]) -> str:
        """The message; raises ``ConfigurationError`` where the template names what is not there."""
        try:
            return self._plain.render(seen)
        except AttributeError:  # a key, or a question whether something is there: Jinja knows more ways
            return self._as_usual(seen)
        except _NOT_RENDERED as error:
            raise ConfigurationError(f"prompt {self.name}: {error}") from error

    def _as_usual(self, seen: Mapping[str, object]) -> str:
        try:
            return self._usual.render(seen)
        except _NOT_RENDERED as error:
            raise ConfigurationError(f"prompt {self.name}: {error}") from error
