"""The language switch at the top of every notebook: three radio buttons and a style sheet."""

from IPython.display import display

CHOICES = {"zh": "中文", "en": "English", "both": "双语"}

# Where text in two languages is found. ".jp-Notebook" is the notebook's own element in JupyterLab
# and Notebook 7, and <body> in exported HTML. A bare [lang=en] would also match <html lang="en">
# and hide the whole page.
PLACES = (".jp-RenderedMarkdown", ".tutor")

STYLE = """\
.tutor-language {display: flex; gap: 1.5em; border: 0; margin: 0; padding: 0.25em 0;}
.tutor-language label {cursor: pointer; display: inline-flex; gap: 0.4em; align-items: center;}
"""


def _hide(chosen, hidden):
    """Returns the rule that hides one language in the notebook where the other is chosen."""
    where = ",\n".join(
        f".jp-Notebook:has(.lang-{chosen}:checked) {place} [lang={hidden}]" for place in PLACES
    )
    return f"{where} {{display: none;}}\n"


def _buttons(default):
    # Each notebook's buttons stand in a form of their own: two notebooks open at once in
    # JupyterLab are one document, and radio buttons of one name would share one choice.
    # method="dialog" makes the form do nothing when Enter is pressed.
    buttons = "\n".join(
        f'<label><input type="radio" name="language" class="lang-{code}"'
        f"{' checked' if code == default else ''}>{word}</label>"
        for code, word in CHOICES.items()
    )
    return (
        '<form method="dialog">\n'
        '<div class="tutor-language" role="radiogroup" aria-label="语言 language">\n'
        f"{buttons}\n</div>\n</form>"
    )


class Language:
    """What `language()` displays."""

    def __init__(self, default):
        style = STYLE + _hide("zh", "en") + _hide("en", "zh")
        self.html = f"<style>\n{style}</style>\n{_buttons(default)}"
        words = (f"[{word}]" if code == default else word for code, word in CHOICES.items())
        self.text = " · ".join(words)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "text/plain": self.text}


def language(default="both"):
    """Displays the switch 中文 / English / 双语 for the notebook it is called in.

    The switch is HTML and CSS only. It hides elements marked lang="zh" or lang="en" inside
    rendered Markdown and inside outputs wrapped in an element of class "tutor".

    default: "zh", "en" or "both", the choice that is set when the notebook is opened.
    Raises ValueError for any other value.
    """
    if default not in CHOICES:
        raise ValueError(
            f'language() 只接受 "zh"、"en" 或 "both"，而不是 {default!r}。'
            f' / language() takes "zh", "en" or "both", not {default!r}.'
        )
    display(Language(default))
