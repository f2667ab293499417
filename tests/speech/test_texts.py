"""The sentences: those of the package, and those of a user's file."""

import unicodedata

import pytest

from tune_encoder.errors import ConfigError, DataError
from tune_encoder.speech.engine import model_languages
from tune_encoder.speech.gate import plausible_seconds
from tune_encoder.speech.texts import (
    MAX_CHARACTERS,
    MAX_CHARACTERS_KO,
    choose_texts,
    shipped_texts,
    split_by_speakable,
    texts_digest,
)

ALL = ("de", "en", "es", "fr", "it", "ja", "ko", "pt")
SCRIPTS = {"ko": ("HANGUL",), "ja": ("HIRAGANA", "KATAKANA", "CJK", "FULLWIDTH")}


def choose(path=None, wanted=(), spoken=ALL, unknown=lambda _: []):
    return choose_texts(path, wanted, spoken, unknown)


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "texts.txt").write_text(text, encoding="utf-8")
        return tmp_path / "texts.txt"

    return write


def test_some_300_sentences_are_shipped_in_eight_languages_as_many_of_each():
    texts = shipped_texts()

    assert tuple(texts) == ALL
    assert {len(each) for each in texts.values()} == {38}
    assert set(texts) <= set(model_languages("supertonic-3"))


@pytest.mark.parametrize("lang", ALL)
def test_shipped_sentences_are_distinct_short_enough_and_from_1_to_12_seconds_long(lang):
    texts = shipped_texts()[lang]
    usual = [sum(plausible_seconds(text, lang, 1.0)) / 2.9 for text in texts]

    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and unicodedata.is_normalized("NFC", text) for text in texts)
    assert max(map(len, texts)) <= (MAX_CHARACTERS_KO if lang == "ko" else MAX_CHARACTERS)
    assert min(usual) < 1.8
    assert 7 < max(usual) < 13


@pytest.mark.parametrize("lang", ALL)
def test_shipped_sentences_are_in_the_script_of_their_language(lang):
    letters = {each for text in shipped_texts()[lang] for each in text if each.isalpha()}

    assert all(unicodedata.name(each).startswith(SCRIPTS.get(lang, ("LATIN",))) for each in letters)


def test_the_models_know_every_character_that_is_shipped(engine):
    texts = [text for each in shipped_texts().values() for text in each]

    assert not engine.unknown_characters(" ".join(texts))


def test_without_a_wish_all_languages_are_chosen_that_the_model_speaks():
    assert tuple(choose()) == ALL
    assert tuple(choose(spoken=model_languages("supertonic-2"))) == ("en", "es", "fr", "ko", "pt")
    assert tuple(choose(spoken=model_languages("supertonic"))) == ("en",)
    assert tuple(choose(wanted=("ko", "en"))) == ("en", "ko")


def test_a_file_has_a_text_a_line_after_its_language_and_a_tab(written):
    path = written("\ufeffen\tGood evening.\n\nko\t안녕하세요.\n")

    assert choose(path) == {"en": ("Good evening.",), "ko": ("안녕하세요.",)}
    assert choose(path, wanted=["ko"]) == {"ko": ("안녕하세요.",)}


def test_lines_without_a_language_have_the_one_that_is_wanted(written):
    assert choose(written("Guten Abend.\n"), wanted=["de"]) == {"de": ("Guten Abend.",)}


def test_texts_are_split_by_whether_the_model_can_spell_them():
    texts = {"en": ("Quick.", "Slow."), "it": ("Qui.",)}

    found = split_by_speakable(texts, lambda text: sorted({"Q"} & set(text)))

    assert found == ({"en": ("Slow.",)}, ["Quick.", "Qui."])


def test_a_digest_tells_texts_and_their_languages_apart():
    digests = [texts_digest(each) for each in ({"en": ["a"]}, {"de": ["a"]}, {"en": ["b"]})]

    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"texts\.txt: has no text; write one a line"),
        ("en\tHello.\nBye.\n", r"line 2 has no language; write its code and a tab before the text"),
        ("en\tHello.\nxx\tBye.\n", r"line 2 has the language 'xx'; the model speaks de, en, es"),
        ("en\t" + "a" * 301, r"line 1 has 301 characters; a text has from 1 to 300 of them"),
        ("ko\t" + "가" * 121, r"line 1 has 121 characters; a text has from 1 to 120 of them"),
        ("en\t \n", r"line 1 has 0 characters"),
        ("en\tPress ⌘.\n", r"line 1 has '⌘', which the model cannot speak; leave it out"),
    ],
)
def test_a_line_that_cannot_be_spoken_is_named(content, message, written):
    with pytest.raises(DataError, match=message):
        choose(written(content), unknown=lambda text: [each for each in text if each == "⌘"])


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"en\tGr\xfc\xdfe\n")

    with pytest.raises(DataError, match=r"texts\.txt: not a readable text file .*save it as UTF-8"):
        choose(tmp_path / "texts.txt")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("en", "tlh"), r"--langs tlh: the model speaks no such language; it speaks de, en"),
        (
            ("pl",),
            r"--langs pl: the package has no text of this language; there are de, en.*--texts",
        ),
    ],
)
def test_a_language_that_is_not_there_is_refused(wanted, message):
    with pytest.raises(ConfigError, match=message):
        choose(wanted=wanted, spoken=(*ALL, "pl"))
