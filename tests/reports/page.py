"""A page as tests look at it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Text of a page whose tags are balanced, and the addresses in it."""

    EMPTY = frozenset({"meta", "img", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def loads_nothing(self) -> bool:
        """Whether all that the page shows is in it."""
        inside = all(each.startswith("data:image/svg+xml;base64,") for each in self.addresses)
        return inside and not {"script", "link", "audio", "iframe"} & {*self.tags}

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
