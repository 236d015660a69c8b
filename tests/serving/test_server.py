"""``sadi-lens serve``: what it refuses, and what its server answers over HTTP."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving.conftest import N_NEW, asked_as, differing, requests
from typer.testing import CliRunner


def test_refused_without_vllm_or_with_the_plugin_off(checkpoint, tables, monkeypatch):
    from sadi_lens.serving import server

    monkeypatch.setattr(server.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(RuntimeError, match="vLLM is not installed in this environment"):
        server.launch(str(checkpoint), [tables])
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    with pytest.raises(RuntimeError, match="VLLM_PLUGINS=other leaves sadi_lens out"):
        server.launch(str(checkpoint), [tables])
    monkeypatch.delenv("VLLM_PLUGINS")
    monkeypatch.setattr(server, "entry_points", lambda **_: ())
    with pytest.raises(RuntimeError, match=r"would not find the plugin .* not only on PYTHONPATH"):
        server.launch(str(checkpoint), [tables])


def test_the_engine_says_what_to_do_without_vllm(checkpoint, tables, monkeypatch):
    import sadi_lens as sl

    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"vLLM is not installed .*docs/serving\.md"):
        sl.serving.VLLMEngine(checkpoint, tables)


def test_tables_of_another_model_or_dtype_are_refused_before_anything_starts(
    checkpoint, tables, tmp_path
):
    from factories import random_llama

    from sadi_lens.serving import launch

    hf, _ = random_llama()
    hf.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="was made on"):
        launch(str(tmp_path / "other"), [tables])
    with pytest.raises(ValueError, match="this one is in bfloat16"):
        launch(str(checkpoint), [tables], dtype="bfloat16")
    with pytest.raises(FileNotFoundError, match="holds no"):
        launch(str(checkpoint), [tmp_path])


@pytest.mark.parametrize("extra", [["--revision", "old"], ["--seed", "1", "--revision=old"]])
def test_the_revision_that_vllm_is_told_to_run_is_the_one_that_is_looked_at(
    checkpoint, tables, tmp_path, monkeypatch, extra
):
    """Of a name on the Hub whose main revision was never downloaded."""
    import shutil

    from huggingface_hub import constants

    from sadi_lens.serving import server

    installed(monkeypatch, server)
    cache = tmp_path / "models--some--model"
    shutil.copytree(checkpoint, cache / "snapshots" / "0a1b")
    (cache / "refs").mkdir()
    (cache / "refs" / "old").write_text("0a1b")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run `hf download some/model` first"):
        server.launch("some/model", [tables])
    with pytest.raises(
        FileNotFoundError, match="run `hf download some/model --revision new` first"
    ):
        server.launch("some/model", [tables], extra=["--revision", "new"])
    found = server.launch("some/model", [tables], port=8123, extra=extra)
    assert found.command[-len(extra) :] == extra
    assert "model='some/model'" in found.client  # not the folder of the cache


def test_a_folder_is_served_under_the_name_that_it_was_given_by(
    checkpoint, tables, tmp_path, monkeypatch
):
    """Clients ask for a link's own name, whatever it points to; "." is the folder one stands in."""
    from sadi_lens.serving import server

    installed(monkeypatch, server)
    (tmp_path / "newest").symlink_to(checkpoint)
    monkeypatch.chdir(checkpoint)
    for given, name in ((tmp_path / "newest", "newest"), (".", checkpoint.name)):
        found = server.launch(str(given), [tables], port=8123)
        assert found.command[found.command.index("--served-model-name") + 1] == name
        assert f"model={name!r}" in found.client


def installed(monkeypatch, server):
    """As in an environment with vLLM and this package."""
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setattr(server, "_is_registered", lambda: True)
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)


def test_the_command_names_model_tables_and_a_client(checkpoint, tables, monkeypatch):
    from sadi_lens.serving import server

    installed(monkeypatch, server)
    found = server.launch(str(checkpoint), [tables], port=8123, extra=["--max-model-len", "64"])
    assert found.command[-2:] == ["--max-model-len", "64"]
    assert "--enforce-eager" in found.command
    assert found.environment["SADI_LENS_TABLES"] == str(tables.resolve())
    assert "127.0.0.1:8123" in found.client
    compile(found.client, "client", "exec")


def test_a_port_that_is_taken_and_a_folder_that_no_list_can_hold_are_refused(
    checkpoint, tables, monkeypatch, tmp_path
):
    import shutil

    from sadi_lens.serving import server

    installed(monkeypatch, server)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} .Address already"):
            server.launch(str(checkpoint), [tables], port=port)
    assert str(port) in server.launch(str(checkpoint), [tables], port=port).command
    for wrong in (0, -1, 65536):
        with pytest.raises(ValueError, match="port must be in"):
            server.launch(str(checkpoint), [tables], port=wrong)
    odd = tmp_path / f"a{os.pathsep}b"
    shutil.copytree(tables, odd)
    with pytest.raises(ValueError, match="in its name, which separates folders"):
        server.launch(str(checkpoint), [odd])


@pytest.mark.parametrize(
    ("xargs", "others", "steers", "words"),
    [
        ({"sadi": "head"}, {}, True, ""),
        ({"other": 1}, {"x": {"y": [1]}}, False, ""),
        (None, None, True, ""),
        ({"sadi": "head"}, {}, False, "beam search cannot be steered"),
        ({"sadi_prompt_tokens": 3}, {}, True, ""),
        ({}, {"sadi": "head"}, True, "asks for steering in 'sadi', which vLLM does not read"),
        ({}, {"extra_body": {"vllm_xargs": {"sadi": "head"}}}, True, "in 'extra_body'"),
        (None, {"extra_args": {"Sadi": "head"}}, False, "in 'extra_args'"),
    ],
)
def test_what_would_be_ignored_is_a_fault(xargs, others, steers, words):
    from sadi_lens.serving.http import fault_of

    found = fault_of(xargs, others, steers=steers)
    assert words in found
    assert bool(words) == bool(found)


class Messages:
    """In place of vLLM's class."""

    model_fields = dict.fromkeys(("model", "messages", "tools", "vllm_xargs"))


def through_the_door(monkeypatch, body, address="/v1/messages", kind=Messages):
    """(what the application read, status, what was said)."""
    from sadi_lens.serving import http

    path, name = http.READ[address]
    monkeypatch.setitem(sys.modules, path, types.SimpleNamespace(**{name: kind}))
    parts, read, sent = [body[:7], body[7:]], [], []

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    async def app(_scope, receive, send):
        more = True
        while more:
            one = await receive()
            read.append(one["body"])
            more = one["more_body"]
        await send({"status": 200})

    scope = {"type": "http", "path": address, "root_path": ""}
    asyncio.run(http.Door(app)(scope, receive, send))
    return b"".join(read), sent[0]["status"], sent[-1].get("body", b"").decode()


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            {"sadi": "head"},
            "in 'sadi', which vLLM does not read at /v1/messages: write \"vllm_xargs\"",
        ),
        ({"Sadi_table": "head"}, "in 'Sadi_table'"),
        ({"extra_body": {"vllm_xargs": {"sadi": "head"}}}, "in 'extra_body'"),
        ({"vllm_xargs": {"sadi": "head"}}, ""),
        ({"stop_sequences": ["x"]}, ""),  # vLLM's own affair
        ({"tools": {"sadi": 1}}, ""),
    ],
)
def test_a_field_that_an_address_drops_is_refused_where_it_asks_for_steering(
    field, words, monkeypatch
):
    body = json.dumps({"model": "x", "messages": [{"content": "sadi"}], **field}).encode()
    read, status, said = through_the_door(monkeypatch, body)
    assert status == (400 if words else 200)
    assert read == (b"" if words else body)
    if words:
        assert words in json.loads(said)["error"]["message"]


def test_an_address_without_steering_says_where_there_is_some(monkeypatch):
    scoring = types.SimpleNamespace(model_fields={"query": None})
    body = b'{"query": "a", "vllm_xargs": {"sadi": "head"}}'
    _, status, said = through_the_door(monkeypatch, body, "/generative_scoring", scoring)
    assert status == 400
    assert "ask at /v1/completions" in said
    for other in (b"not JSON", b"[1, 2]", b""):
        assert through_the_door(monkeypatch, other)[:2] == (other, 200)


@pytest.fixture(scope="module")
def overflowing(model, tmp_path_factory):
    """A folder with a table that takes the model out of the range of numbers."""
    import sadi_lens as sl

    huge = sl.MaskedScaling(sl.Mask.from_units("head", [(2, 1)], model), 1e30)
    return sl.serving.export_tables(
        {"huge": huge}, tmp_path_factory.mktemp("huge") / "tables", model=model
    )


@pytest.fixture(scope="module")
def url(vllm_settings, checkpoint, tables, overflowing):
    """A running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from sadi_lens.apps.cli import app; app()", "serve"]
    options = ["--tables", str(tables), "--tables", str(overflowing)]
    options += ["--port", str(port), "--max-model-len", "256"]
    more = ["--block-size", "32", "--gpu-memory-utilization", "0.3", "--max-num-seqs", "16"]
    process = subprocess.Popen(
        [*command, str(checkpoint), *options, *more], env={**os.environ, **vllm_settings}
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(1)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def ask(url, prompt, **extra):
    body = {"prompt": prompt, "max_tokens": 8, "temperature": 0, "model": "random-llama", **extra}
    body |= {"skip_special_tokens": False}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        found = json.loads(answer.read())["choices"][0]
    return found["text"] + ("<eos>" if found["finish_reason"] == "stop" else "")


def test_over_http_every_prompt_in_every_way_eight_at_once(url, model, expected, prompts):
    rows = [model.tokenizer(one)["input_ids"] for one in prompts]

    def one(asked):
        row, way = asked
        xargs = {} if asked_as(way) is None else {"vllm_xargs": {"sadi": asked_as(way)}}
        return ask(url, rows[row], max_tokens=N_NEW, **xargs)

    asked = requests(expected, prompts)
    with ThreadPoolExecutor(8) as pool:
        assert differing(expected, asked, list(pool.map(one, asked))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"sadi": "nobody@all"},
        {"sadi": "head@last"},
        {"sadi": "head", "sadi_prompt_tokens": 999},
        {"sadi_": "head"},
    ],
)
def test_over_http_a_wrong_request_is_400_and_the_engine_lives(url, prompts, wrong):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url, prompts[0], vllm_xargs=wrong)
    refused.value.close()
    assert refused.value.code == 400
    assert ask(url, prompts[0])


def refused(url, prompt, **extra):
    """(status, message) of a request that is refused."""
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(url, prompt, **extra)
    with error.value:
        return error.value.code, error.value.read().decode()


def test_over_http_what_vllm_would_ignore_is_400(url, prompts):
    """Beam search runs requests of its own, and a field beside ``vllm_xargs`` is read by nobody."""
    beams = {"use_beam_search": True, "n": 2}
    asked = {"vllm_xargs": {"sadi": "head"}}
    assert ask(url, prompts[0], **beams)
    for extra, words in (
        (beams | asked, "beam search cannot be steered"),
        ({"sadi": "head"}, "which vLLM does not read"),
        ({"extra_body": asked}, "which vLLM does not read"),
        ({"vllm_xargs": {"Sadi": "head"}}, "steering argument must be one of"),
        (
            {"vllm_xargs": {"sadi": "head", "sadi_prompt_tokens": 2}, "truncate_prompt_tokens": 3},
            "sadi_prompt_tokens counts from the start of the text that was sent",
        ),
    ):
        code, said = refused(url, prompts[0], **extra)
        assert (code, words in said) == (400, True), said


def test_over_http_a_text_that_is_cut_is_steered_at_its_own_last_token(
    url, model, interventions, prompts
):
    import sadi_lens as sl

    row = model.tokenizer(prompts[-1])["input_ids"]
    steered = {"vllm_xargs": {"sadi": "head@last_prompt"}, "max_tokens": N_NEW}
    got = ask(url, row, truncate_prompt_tokens=9, truncation_side="left", **steered)
    (wanted,) = sl.generate(
        model,
        [row[-9:]],
        interventions["head"],
        position="last_prompt",
        max_new_tokens=N_NEW,
        skip_special_tokens=False,
    )
    assert got.partition("<eos>")[0] == wanted.partition("<eos>")[0]


def test_over_http_what_an_address_drops_is_400(url):
    """Asked of vLLM itself: its classes are where ``READ`` says, and the middleware stands before them."""
    message = {"messages": [{"role": "user", "content": "the ball"}], "max_tokens": 2}
    for address, body in {
        "/v1/messages": {**message, "sadi": "head"},
        "/inference/v1/generate": {
            "token_ids": [5, 6], "sampling_params": {"max_tokens": 2}, "vllm_xargs": {"sadi": "head"}
        },
        "/generative_scoring": {
            "query": "the", "items": [" ball"], "label_token_ids": [5, 6], "vllm_xargs": {"sadi": "head"}
        },
        "/v1/systemone": {"state": "the", "questions": {}, "sadi": "head"},
    }.items():  # fmt: skip
        whole = json.dumps({"model": "random-llama", **body}).encode()
        request = urllib.request.Request(url + address, whole, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=120)
        with error.value:
            said = error.value.read().decode()
            assert (error.value.code, f"does not read at {address}" in said) == (400, True), said


def test_over_http_what_overflows_is_an_error_and_the_engine_lives(url, prompts, expected):
    asked = {"vllm_xargs": {"sadi": "huge@every_step"}, "max_tokens": N_NEW}
    code, said = refused(url, prompts[0], **asked)
    assert code == 500
    assert "Use a table of smaller strength" in said
    body = {"prompt": prompts[0], "model": "random-llama", "stream": True, **asked}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert "Use a table of smaller strength" in answer.read().decode()
    whole = ask(url, prompts[0], max_tokens=N_NEW)
    assert whole.partition("<eos>")[0] == expected[None, "all"][0].partition("<eos>")[0]


def test_other_options_of_the_command_go_to_the_server(checkpoint, tables, monkeypatch):
    from sadi_lens.apps import cli
    from sadi_lens.serving import server

    started = []
    installed(monkeypatch, server)
    monkeypatch.setattr(os, "execve", lambda *args: started.append(args))
    more = ["--max-model-len", "64", "--enable-prefix-caching"]
    result = CliRunner().invoke(cli.app, ["serve", str(checkpoint), "--tables", str(tables), *more])
    assert result.exit_code == 0, result.output
    assert "vllm_xargs" in result.output
    assert started[0][1][-3:] == more
    unknown = CliRunner().invoke(cli.app, ["figures", "--max-model-len", "64"])
    assert unknown.exit_code == 2
