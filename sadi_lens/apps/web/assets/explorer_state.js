/* What is shown, its copy in the address, and the words and shapes that every part uses. */
const App = (() => {
  const grids = Page.data("data");
  const main = grids[0];
  const by = (id) => document.getElementById(id);

  /* Numbers and words. All text from the data goes through textContent, never through markup. */
  /** A half goes to the even neighbour, as in the report and its figures: 82.5 is 82 (toFixed makes it 83). */
  const rounded = (value, digits) => {
    const above = value.toFixed(digits);
    const isHalf = (Math.abs(value) * 2 ** (digits + 1)) % 2 === 1;
    return isHalf && Number(above.at(-1)) % 2 ? (Number(above) - Math.sign(value) * 10 ** -digits).toFixed(digits) : above;
  };
  const percent = (value, digits = 1) => (value === null ? "not finite" : rounded(100 * value, digits) + "%");
  const signed = (value, digits = 2) => {
    if (value === null) return "not finite";
    const shown = rounded(Math.abs(value), digits);
    return (value < 0 && Number(shown) ? "\u2212" : "+") + shown;
  };
  const visible = (token) => token.replaceAll(" ", "\u2423").replaceAll("\n", "\u23ce") || "(empty)";
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const token = (text) => element("span", visible(text), "token");
  const svg = (name, attributes = {}, ...inside) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };

  const bits = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return (place) => (bytes[place >> 3] >> (7 - (place & 7))) & 1;
  };
  const correct = bits(main.correct);
  const given = main.donated === null ? null : bits(main.donated);
  /** Whether dev item `item` is right under a method at a strength (its place). */
  const isRight = (method, item, strength = state.strength, k = state.k) => {
    if (method === "adaptive" && state.donated && given) return given(strength * main.n + item);
    const m = method === "unsteered" ? 0 : main.methods.indexOf(method);
    const place = method === "unsteered" ? main.zero : strength;
    return correct(((m * main.ks.length + k) * main.strengths.length + place) * main.n + item);
  };

  const mapNames = [...by("map").options].map((one) => one.value);
  const state = { tab: 0, prompts: grids.map(() => 0), k: main.cell[0], strength: main.cell[1], map: mapNames[0], donated: false };
  const grid = () => grids[state.tab];
  const prompt = () => grid().prompts[state.prompts[state.tab]];
  const row = () => (grid().ks.length === 1 ? 0 : state.k);

  /** One prompt under one method: `get(name)` is its value in this cell, `from` what its token numbers point into. */
  const under = (method) => {
    const one = prompt();
    const isGiven = method === "adaptive" && state.donated && one.donated !== null;
    const from = isGiven ? one.donated : one;
    const strength = method === "unsteered" ? grid().zero : state.strength;
    const at = isGiven ? [0, 0] : [method === "unsteered" ? 0 : grid().methods.indexOf(method), row()];
    return { from, isGiven, get: (name) => from[name][at[0]][at[1]][strength] };
  };

  const read = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    const place = (name, values, set) => {
      const found = values.map(String).indexOf(words.get(name));
      if (found >= 0) set(found);
    };
    place("k", main.ks, (found) => { state.k = found; });
    place("strength", main.strengths, (found) => { state.strength = found; });
    place("tab", grids.map((_, index) => index + 1), (found) => { state.tab = found; });
    place("prompt", grid().prompts.map((_, index) => index + 1), (found) => { state.prompts[state.tab] = found; });
    if (mapNames.includes(words.get("map"))) state.map = words.get("map");
    state.donated = words.get("push") === "given" && canGive();
    if (state.donated) state.k = main.cell[0];
  };
  const write = () => {
    const words = new URLSearchParams({
      prompt: state.prompts[state.tab] + 1, k: main.ks[state.k], strength: main.strengths[state.strength], map: state.map,
      ...(state.tab ? { tab: state.tab + 1 } : {}), ...(state.donated ? { push: "given" } : {}),
    });
    // A sandboxed frame may refuse; the page works without.
    try { history.replaceState(null, "", "#" + words); } catch { /* not kept */ }
  };
  const canGive = () => given !== null || main.prompts.some((one) => one.donated !== null);

  return {
    grids, main, by, state, grid, prompt, row, under, isRight, read, write, canGive,
    hasGiven: given !== null, rounded, percent, signed, visible, element, token, svg, parts: [], move: null,
  };
})();
