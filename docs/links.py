"""A hook of MkDocs: links to files of the repository outside of docs/ lead to the repository, or become its paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

LINK = re.compile(r"\[([^]]*)\]\(\.\./([^)\s#]+)[^)\s]*\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return a page's text with such links rewritten.

    Raises:
        PluginError: A link to a file that is not there.
    """

    def rewritten(link: re.Match[str]) -> str:
        text, path = link.groups()
        if not (Path(config.docs_dir).parent / path).exists():
            raise PluginError(f"{page.file.src_path} links to ../{path}, which is not there")
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/HEAD/{path})"
        return text if text.strip("`") in path else f"{text} (`{path}`)"

    return LINK.sub(rewritten, markdown)
