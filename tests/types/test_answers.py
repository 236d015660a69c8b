"""When a generated text is an answer, in every script."""

import pytest


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("是。", "是"),
        ("はい。そうです", "はい"),
        ("「はい」", "はい"),
        ("हाँ।", "हाँ"),
        ("نعم؟ لا", "نعم"),
        ("\u200fنعم\u200e", "نعم"),
        ("ใช่\u200b", "ใช่"),
        ("“Yes”", "Yes"),
        ("‘Yes.’ he said", "yes"),
        ("**Yes**", "Yes"),
        ("`Yes`", "Yes"),
        ("Yes! It is.", "yes"),
        ("¡Sí!", "sí"),
        ("cafe\u0301", "café"),
        ("Ａ", "A"),
        ("Ｙｅｓ！", "yes"),
        ("\ufeffYes", "Yes"),
        ("No\u2028more", "no"),
        ("İstanbul", "istanbul"),
        ("STRASSE", "Straße"),
        ("ΣΑΣ", "σας"),
        ("٥", "5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("1,000", "1000"),
        ("1990–1995", "1990-1995"),
        ("½", "1/2"),
        ("x²", "x^2"),
        ("50 %", "50%"),
        ("U.S.A.", "USA"),
        ("(A)", "A"),
        ("- Yes", "yes"),
        ("The ball", "ball"),
        ("3.5.", "3.5"),
    ],
)
def test_the_same_answer(text, target):
    from sadi_lens.types.answers import matches

    assert matches(text, target)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("-5", "5"),
        ("-.5", ".5"),
        ("3.5", "35"),
        ("1.5", "1,5"),
        ("1/2", "12"),
        ("2½", "21/2"),
        ("2³", "23"),
        ("10:30", "1030"),
        ("50%", "50"),
        ("$5", "5"),
        ("<5", "5"),
        ("C++", "C"),
        ("C#", "C"),
        ("A+", "A"),
        ("R&D", "RD"),
        ("café", "cafe"),
        ("ば", "は"),
        ("sık", "sik"),
        ("不是", "是"),
        ("😀", "😢"),
        ("", "A"),
        ("", "…"),
    ],
)
def test_another_answer(text, target):
    from sadi_lens.types.answers import matches

    assert not matches(text, target)


def test_where_a_space_parts_an_answer_from_its_prompt():
    from sadi_lens.types.answers import lacks_space

    assert lacks_space("Answer:", "yes")
    assert lacks_space("الجواب:", "نعم")
    assert not lacks_space("Answer:", " yes")
    assert not lacks_space("Answer: ", "yes")
    assert not lacks_space("He said “", "yes")
    assert not lacks_space('He said "', "yes")
    assert not lacks_space("答案：", "是")
    assert not lacks_space("คำตอบ", "ใช่")
    assert not lacks_space("word", ", and")
