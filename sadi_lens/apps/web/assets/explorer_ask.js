/* A text of one's own, continued by a server that is running: unsteered and steered. */
{
  const { by } = App;
  const says = (text) => { by("ask-says").textContent = text; };
  const NOBODY = "sadi_lens_no_such_table";

  class Told extends Error {}
  const explain = async (base) => {
    // A refused page and an absent server look alike to fetch; a request whose answer may not be read tells them apart.
    const isThere = await fetch(`${base}/v1/models`, { mode: "no-cors" }).then(() => true, () => false);
    return isThere
      ? `A server runs at ${base}, but does not let this page read its answers (CORS). Start it with --allowed-origins '["*"]', vLLM's default.`
      : `No server answers at ${base}. Start one: sadi-lens serve MODEL --tables FOLDER, then ask again.`;
  };
  const call = async (base, path, body) => {
    const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
    let answer;
    try { answer = await fetch(base + path, options); } catch { throw new Told(await explain(base)); }
    const given = await answer.json().catch(() => null);
    return { isFine: answer.ok && given !== null, given, status: answer.status };
  };
  const reason = ({ given, status }) => given?.error?.message ?? given?.message ?? given?.detail ?? `status ${status}`;
  const complete = async (base, body) => {
    const found = await call(base, "/v1/completions", body);
    if (!found.isFine) throw new Told(`The server refused: ${reason(found)}`);
    return found.given.choices[0].text;
  };

  const ask = async () => {
    const base = by("server").value.trim().replace(/\/+$/, "").replace(/\/v1$/, "");
    const prompt = by("own-text").value;
    if (!base || !prompt.trim()) throw new Told("Give the server's address and a text.");
    const models = await call(base, "/v1/models");
    if (!models.isFine || !models.given.data?.length) throw new Told(`${base} names no model at /v1/models: ${reason(models)}`);
    const body = { model: models.given.data[0].id, prompt, max_tokens: 40, temperature: 0 };
    const steered = (name) => ({ ...body, vllm_xargs: { sadi: name } });
    // A server without the plugin ignores what it does not know, and would answer unsteered.
    const probe = await call(base, "/v1/completions", { ...steered(NOBODY), max_tokens: 1 });
    if (probe.isFine) throw new Told(`${base} does not steer: it accepts a table that does not exist. Start it with sadi-lens serve.`);
    const texts = [await complete(base, body), await complete(base, steered(by("table").value.trim()))];
    [...by("ask-cards").querySelectorAll(".text")].forEach((one, place) => { one.textContent = texts[place] || "(nothing)"; });
    by("ask-cards").hidden = false;
    return `${body.model}, greedy, up to ${body.max_tokens} tokens.`;
  };

  by("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    by("ask-cards").hidden = true;
    says("asking \u2026");
    try { says(await ask()); } catch (error) { says(error instanceof Told ? error.message : `The answer cannot be read: ${error.message}`); }
  });
}
