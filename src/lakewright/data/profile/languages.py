"""A rough guess at the script and the language of texts, from Unicode blocks and common words; nothing is learned.

Good enough to see that a tenth of the rows is French, not to label rows. A short text often stays undetermined ("und",
as in BCP 47).
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import numpy.typing as npt

# First and last code point of the blocks that hold a script's letters: https://www.unicode.org/Public/UNIDATA/Blocks.txt
BLOCKS = [
    (0x0041, 0x005A, "Latin"),
    (0x0061, 0x007A, "Latin"),
    (0x00C0, 0x024F, "Latin"),
    (0x0370, 0x03FF, "Greek"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0530, 0x058F, "Armenian"),
    (0x0590, 0x05FF, "Hebrew"),
    (0x0600, 0x06FF, "Arabic"),
    (0x0900, 0x097F, "Devanagari"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1100, 0x11FF, "Hangul"),
    (0x1E00, 0x1EFF, "Latin"),
    (0x3040, 0x30FF, "Kana"),
    (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"),
    (0xAC00, 0xD7AF, "Hangul"),
]
SCRIPTS = sorted({script for _, _, script in BLOCKS})
_FIRST = np.array([first for first, _, _ in BLOCKS])
_LAST = np.array([last for _, last, _ in BLOCKS])
_SCRIPT = np.array([SCRIPTS.index(script) for _, _, script in BLOCKS])

# Scripts of (nearly) one language only; Japanese mixes kana and Han.
BY_SCRIPT = {
    "Greek": "el",
    "Armenian": "hy",
    "Hebrew": "he",
    "Arabic": "ar",
    "Devanagari": "hi",
    "Bengali": "bn",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
    "Georgian": "ka",
    "Hangul": "ko",
    "Kana": "ja",
    "Han": "zh",
}
# The most common words of a language that distinguish it from the others of its script.
WORDS = {
    "en": "the of and to is was are in that it for with you this have not be on my as but they we from or his i do",
    "de": "der die das und ist nicht ich ein eine zu den mit von auf für im es sich dem auch wie wir sie aber war",
    "fr": "le la les et est des une un que pas je pour dans qui sur ce il nous vous avec du au très mais cette sont",
    "es": "el la los las que y es una en por con para no se del muy lo como pero más este está su al son yo",
    "pt": "o os as que e é uma um não em para com do da muito mais por se foi isso mas eu você dos das ao são",
    "it": "il lo gli che e è una un non di per con sono della molto ma questo si anche nel ho dei più come mi",
    "nl": "de het een en is niet van ik dat op te in voor met zijn maar er aan ook je heb was bij naar deze",
    "sv": "och att det är inte en ett som jag på för med av till den har om var men vi så från kan ska också",
    "da": "og at det er ikke en et som jeg på for med af til den har om var men vi så fra kan skal også",
    "pl": "i w nie na się jest że do to z jak o co ale za po był dla tak od już przez czy może bardzo",
    "tr": "ve bir bu da de için çok ne ile o ama gibi daha en var mi değil ben kadar sonra olarak olan her şey",
    "fi": "ja on ei se että oli hän mutta kun niin ovat myös en minä tämä ole kuin sen joka vain nyt hyvin",
    "ru": "и в не на я что он с как это по но они мы она из за то все так было от бы для вы",
    "uk": "і в не на я що він з як це по але вони ми вона із за то все так було від би для та й є",
}
_LANGUAGES_OF = {word: [lang for lang, words in WORDS.items() if word in words.split()] for words in WORDS.values()
                 for word in words.split()}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
READ = 1000  # characters of a text: enough for a guess
HITS = 2  # least number of common words


def letters(text: str) -> npt.NDArray[np.int64]:
    """The number of letters of each of SCRIPTS in the text, (len(SCRIPTS),)."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    block = np.searchsorted(_FIRST, points, side="right") - 1
    inside = (block >= 0) & (points <= _LAST[block])
    return np.bincount(_SCRIPT[block[inside]], minlength=len(SCRIPTS))


def guess(text: str) -> tuple[str | None, str]:
    """The script of most letters (None without any) and the language: an ISO 639-1 code, or und.

    A Latin or Cyrillic text gets the language with the most common words in it: at least two, and more than any other
    language.
    """
    text = text[:READ]
    counts = letters(text)
    if not counts.any():
        return None, "und"
    script = SCRIPTS[int(counts.argmax())]
    if script in BY_SCRIPT:
        kana = counts[SCRIPTS.index("Kana")]
        return script, "ja" if script == "Han" and kana else BY_SCRIPT[script]
    hits: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        hits.update(_LANGUAGES_OF.get(word, ()))
    best = hits.most_common(2)
    if not best or best[0][1] < HITS or (len(best) > 1 and best[0][1] == best[1][1]):
        return script, "und"
    return script, best[0][0]
