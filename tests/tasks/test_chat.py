"""Chat templates: what the model would see from Hugging Face's own ``apply_chat_template`` is what it sees here."""

from dataclasses import replace

import pytest
from factories import random_llama, word_tokenizer

CHATML = (
    "{% for m in messages %}<s>{{ m.role }} : {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant : "
    "{% if thinks is defined and not thinks %}the box {% endif %}{% endif %}"
)
SPACED = (  # as Mistral's: an answer is written with a space before it
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[ {{ m.content }} ]{% else %} {{ m.content }}"
    "{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<s>{{ m.content }}</s>{% endfor %}"
)


def _tokenizer(template: str, **options):
    tokenizer = word_tokenizer(**options)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def task():
    import sadi_lens as sl

    return sl.Task(
        "t",
        pairs=(sl.ContrastivePair("p is\n\nAnswer:", " good", " bad"),),
        dev=(sl.Sample("d is", (" red", " blue"), 0),),
        test=(
            sl.Sample("Q: is it red?\nA:", (" red", " blue"), 0),
            sl.Sample("is it ?\nAnswer: It is", (" red", " blue"), 1),
            sl.Sample("A: not the last line\nis it", (" red", " blue"), 1),
        ),
        prompts=("go on",),
    )


def test_the_line_that_announces_the_answer_leaves_the_users_turn_and_answers_lose_their_space(
    task,
):
    import sadi_lens as sl

    chat = sl.tasks.with_chat_template(task, _tokenizer(CHATML))
    assert chat.test[0].prompt == "<s>user : Q: is it red?</s><s>assistant : "
    assert chat.test[0].choices == ("red", "blue")
    assert chat.test[1].prompt == "<s>user : is it ?</s><s>assistant : It is"
    assert chat.test[1].choices == (" red", " blue")
    assert chat.test[2].prompt == "<s>user : A: not the last line\nis it</s><s>assistant : "
    assert chat.pairs[0] == sl.ContrastivePair("<s>user : p is</s><s>assistant : ", "good", "bad")
    assert chat.prompts == ("<s>user : go on</s><s>assistant : ",)


def test_the_space_that_the_template_itself_writes_stays(task):
    import sadi_lens as sl

    chat = sl.tasks.with_chat_template(task, _tokenizer(SPACED))
    assert chat.test[0].prompt == "<bos>[ Q: is it red? ]"
    assert chat.test[0].choices == (" red", " blue")


def test_the_blank_that_is_the_wrong_answer_of_open_questions_stays(task):
    import sadi_lens as sl

    pair = sl.ContrastivePair("Who?", " Tom", " ")
    chat = sl.tasks.with_chat_template(replace(task, pairs=(pair,)), _tokenizer(CHATML))
    assert (chat.pairs[0].positive, chat.pairs[0].negative) == ("Tom", " ")
    assert len(sl.tasks.with_chat_template(sl.load_task("recall"), _tokenizer(CHATML)).pairs) == 240


@pytest.mark.parametrize(("template", "space"), [(CHATML, ""), (SPACED, " ")])
def test_of_an_answer_only_the_blank_that_parts_it_from_the_prompt_is_left_out(template, space):
    """Blanks behind an answer were cut off, and with them the indent of code, without a word."""
    import sadi_lens as sl

    given = {" red ": "red ", "\nred\n": "red\n", "    red": "   red", "red": "red", " red": "red"}
    for answer, expected in given.items():
        asked = sl.Task("t", dev=(sl.Sample("is it", (" blue", answer), 1),))
        (sample,) = sl.tasks.with_chat_template(asked, _tokenizer(template)).dev
        assert sample.choices == (f"{space}blue", f"{space}{expected}")
    twice = sl.Task("t", dev=(sl.Sample("is it", ("red", " red"), 1),))
    with pytest.raises(ValueError, match="choices must differ"):
        sl.tasks.with_chat_template(twice, _tokenizer(template))


def test_system_history_and_template_arguments_go_to_the_template(task):
    import sadi_lens as sl

    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hat"}]
    chat = sl.tasks.with_chat_template(
        task, _tokenizer(CHATML), system="the ball", history=turns, thinks=False
    )
    assert chat.dev[0].prompt == (
        "<s>system : the ball</s><s>user : hi</s><s>assistant : hat</s><s>user : d is</s>"
        "<s>assistant : the box "
    )


@pytest.mark.parametrize("template", [CHATML, SPACED, "[x] <s>{{ messages[0]['content'] }}"])
@pytest.mark.parametrize("bos", [True, False])
def test_tokens_are_those_of_apply_chat_template_with_nothing_doubled(template, bos, task):
    import sadi_lens as sl
    from sadi_lens.engine.text import encode, encode_item

    tokenizer = _tokenizer(template, bos=bos)
    sample = sl.tasks.with_chat_template(task, tokenizer).dev[0]
    want = tokenizer.apply_chat_template(
        [{"role": "user", "content": "d is"}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert encode(tokenizer, sample.prompt) == want
    hf, _ = random_llama()
    model = sl.load_model(hf, tokenizer=tokenizer, self_check=False)
    item = encode_item(model, sample.prompt, sample.choices)
    assert list(item.prompt) == want
    assert item.merged == 0
    assert [len(answer) for answer in item.answers] == [1, 1]


def test_what_a_template_refuses_is_said(task):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"no chat template: it was not tuned for chat"):
        sl.tasks.with_chat_template(task, word_tokenizer())
    with pytest.raises(
        ValueError, match=r"refuses .*'system', 'user'.*System role not supported; leave system out"
    ):
        sl.tasks.with_chat_template(task, _tokenizer(NO_SYSTEM), system="be kind")
    chat = sl.tasks.with_chat_template(task, _tokenizer(CHATML))
    with pytest.raises(ValueError, match="in a chat template already"):
        sl.tasks.with_chat_template(chat, _tokenizer(CHATML))
    more = sl.Task("t", dev=(chat.dev[0], sl.Sample("x", ("a", "b"), 0)))
    with pytest.raises(ValueError, match=r"add examples before it, or as its history="):
        sl.tasks.with_examples(more, 1)


def test_a_rendered_prompt_is_measured_as_hugging_face_sees_it():
    """A real tokenizer and template, where they are."""
    import sadi_lens as sl
    from sadi_lens.engine.text import encode

    known = sl.models.KNOWN["smollm2"]
    try:
        known.find()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    from transformers import AutoTokenizer

    from sadi_lens.models._names import resolve
    from sadi_lens.models.gguf import converted

    tokenizer = AutoTokenizer.from_pretrained(converted(resolve("smollm2")))
    task = sl.Task("t", dev=(sl.Sample("Is snow cold?\nAnswer:", (" yes", " no"), 0),))
    sample = sl.tasks.with_chat_template(task, tokenizer).dev[0]
    want = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is snow cold?"}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert encode(tokenizer, sample.prompt) == want
    assert sample.choices == ("yes", "no")


def test_both_prompts_of_a_persona_pair_are_rendered():
    import sadi_lens as sl

    pair = sl.ContrastivePair(
        "be good . go", " on", " on .", negative_prompt="be bad . go:\nAnswer:"
    )
    rendered = sl.tasks.with_chat_template(sl.Task("t", pairs=(pair,)), _tokenizer(CHATML)).pairs[0]
    assert rendered.prompt == "<s>user : be good . go</s><s>assistant : "
    assert rendered.negative_prompt == "<s>user : be bad . go:</s><s>assistant : "
    assert isinstance(rendered.negative_prompt, sl.types.data.ChatPrompt)
    assert (rendered.positive, rendered.negative) == ("on", "on .")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 1 // 0 }}", r"refuses messages of the roles \['user'\]: .*zero"),
        ("{{ messages[0]['content'] + 1 }}", r"refuses messages of the roles \['user'\]: can only"),
        ("{% if %}", r"refuses messages of the roles \['user'\]: Expected an expression"),
    ],
)
def test_a_template_that_is_at_fault_is_said(task, template, words):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.tasks.with_chat_template(task, _tokenizer(template))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"history": [{"role": "user"}]},
            r"must have 'role' and 'content', got \{'role': 'user'\}",
        ),
        ({"tokenize": True}, r"sets \['tokenize'\] itself"),
        ({"add_generation_prompt": False}, r"sets \['add_generation_prompt'\] itself"),
    ],
)
def test_half_a_message_and_arguments_that_are_set_here_are_refused(task, arguments, words):
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.tasks.with_chat_template(task, _tokenizer(CHATML), **arguments)


def test_a_rendered_prompt_stays_one_behind_a_text_and_when_it_is_saved(task, tmp_path):
    import sadi_lens as sl
    from sadi_lens.types.chat_prompt import ChatPrompt
    from sadi_lens.types.store import read_json, write_json

    prompt = sl.tasks.with_chat_template(task, _tokenizer(CHATML)).test[0].prompt
    for one in ("" + prompt, "before " + prompt, prompt + " behind"):
        assert type(one) is ChatPrompt
    assert "before " + prompt == f"before {prompt}"
    sl.save([prompt, str(prompt)], tmp_path / "saved")
    write_json({"prompts": [prompt, str(prompt)]}, tmp_path / "results.json")
    for found in (sl.load(tmp_path / "saved"), read_json(tmp_path / "results.json")["prompts"]):
        assert found == [prompt, prompt]
        assert [type(one) for one in found] == [ChatPrompt, str]


LAST_ONLY = "<s>{{ messages[-1].content }}</s>{% if add_generation_prompt %}<s>{% endif %}"
USERS = (
    "{% for m in messages if m.role in ('user', 'assistant') %}<s>{{ m.role }} : {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant : {% endif %}"
)


@pytest.mark.parametrize(
    ("template", "arguments", "words"),
    [
        (
            USERS,
            {"system": "be good"},
            r"leaves out message 0 \('system': 'be good'\).*leave system",
        ),
        (
            LAST_ONLY,
            {"history": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "."}]},
            r"leaves out message 0 \('user': 'hi'\)",
        ),
        (USERS, {"history": [{"role": "User", "content": "hi"}]}, r"'User': 'hi'.*mend its role"),
        ("<s>assistant : ", {}, "leaves out message 0"),
        (CHATML, {"think": False}, "knows no argument 'think', which would do nothing"),
    ],
)
def test_what_a_template_would_leave_out_is_refused(task, template, arguments, words):
    """It was rendered without it, and every number was of another question than was asked."""
    import sadi_lens as sl

    with pytest.raises(ValueError, match=words):
        sl.tasks.with_chat_template(task, _tokenizer(template), **arguments)


THINKS = (
    "{% for m in messages %}<s>{{ m.role }} : {% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant : "
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OPENS = (
    "{% for m in messages %}<s>{{ m.role }} : {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant : <think>{% if short %}</think>{% endif %}{{ '\n' }}{% endif %}"
)
NO_OPENING = "{% for m in messages %}<s>{{ m.role }} : {{ m.content }}</s>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (THINKS, r"writes '<think>\\n\\n</think>\\n\\n' before an answer"),
        (OPENS, r"generation prompt opens '<think>\\n'"),
        (NO_OPENING, "writes '<s>assistant : ' before an answer"),
    ],
)
def test_answers_that_stand_where_a_model_would_not_begin_them_are_said(task, template, words):
    import sadi_lens as sl

    with pytest.warns(UserWarning, match=words):
        sl.tasks.with_chat_template(task, _tokenizer(template))


def test_answers_behind_thoughts_that_are_closed_are_in_their_place(task):
    import sadi_lens as sl

    quiet = sl.tasks.with_chat_template(task, _tokenizer(THINKS), enable_thinking=False)
    assert quiet.dev[0].prompt.endswith("<s>assistant : <think>\n\n</think>\n\n")
    quiet = sl.tasks.with_chat_template(task, _tokenizer(OPENS), short=True)
    assert quiet.dev[0].prompt.endswith("<s>assistant : <think></think>\n")


def test_an_answer_that_is_begun_follows_as_the_template_writes_it(task):
    import sadi_lens as sl

    chat = sl.tasks.with_chat_template(task, _tokenizer(SPACED))
    assert chat.test[1].prompt == "<bos>[ is it ? ] It is"
