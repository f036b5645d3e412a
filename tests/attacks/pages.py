"""What a student receives: what in a page can act, and what in it nobody should see."""

from bs4 import BeautifulSoup

ELEMENTS = ("script", "iframe", "object", "embed", "svg", "form", "link", "base", "audio", "video")


def active(page: str) -> list[tuple[str, str]]:
    """What in a page can act: scripts, handlers, addresses, foreign elements, outer images."""
    found = []
    for element in BeautifulSoup(page, "html.parser").find_all(True):
        if element.name in ELEMENTS:
            found.append((element.name, str(element)[:80]))
        for name, value in element.attrs.items():
            if name.startswith("on") or "javascript:" in str(value).lower():
                found.append((name, str(value)))
        source = element.get("src", "")
        if element.name == "img" and not source.startswith("data:image/png;base64,"):
            found.append(("img", source))
    return found
