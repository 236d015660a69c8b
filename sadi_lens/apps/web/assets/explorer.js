"use strict";
{
  const data = Page.data("data");
  const elements = Page.data("data-elements");
  const by = (id) => document.getElementById(id);
  const controls = by("controls");
  const mapMenu = by("map");
  const mapNames = [...mapMenu.options].map((one) => one.value);
  const last = (values) => values.length - 1;

  /* Numbers and words. All text from the data goes through textContent, never through markup. */
  const percent = (value, digits = 1) => (value === null ? "not finite" : (100 * value).toFixed(digits) + "%");
  const signed = (value, digits = 2) =>
    value === null ? "not finite" : (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);
  const visible = (token) => token.replaceAll(" ", "\u2423").replaceAll("\n", "\u23ce") || "(empty)";
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const token = (text) => element("span", visible(text), "token");

  /* State, and its copy in the address. */
  // Where dev finds nothing better than not to steer, begin in the middle, so that there is something to see.
  const best = data.best.adaptive;
  const start = best && best[1] !== data.zero ? best : [last(data.ks), data.strengths.length >> 1];
  const state = { prompt: 0, method: "adaptive", k: start[0], strength: start[1], map: mapNames[0] };
  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    const place = (name, values) => {
      const found = values.map(String).indexOf(given.get(name));
      if (found >= 0) state[name] = found;
    };
    place("k", data.ks);
    place("strength", data.strengths);
    place("prompt", data.prompts.map((_, index) => index + 1));
    if (data.methods.includes(given.get("method"))) state.method = given.get("method");
    if (mapNames.includes(given.get("map"))) state.map = given.get("map");
  };
  const write = () => {
    const words = new URLSearchParams({
      prompt: state.prompt + 1, method: state.method, k: data.ks[state.k],
      strength: data.strengths[state.strength], map: state.map,
    });
    // A sandboxed frame may refuse; the page works without.
    try { history.replaceState(null, "", "#" + words); } catch { /* not kept */ }
  };
  const cell = (table, strength = state.strength) =>
    table[data.methods.indexOf(state.method)][state.k][strength];
  const units = () => (state.method === "random" ? data.randomUnits[state.k] : data.units.slice(0, data.ks[state.k]));

  const showControls = () => {
    by("prompt").value = state.prompt;
    controls.elements.method.value = state.method;
    mapMenu.value = state.map;
    for (const [name, values] of [["k", data.ks], ["strength", data.strengths]]) {
      by(name).value = state[name];
      by(name).setAttribute("aria-valuetext", `${name === "k" ? "K" : name} ${values[state[name]]}`);
      by(name + "-value").value = values[state[name]];
    }
    document.documentElement.dataset.method = state.method;
    document.querySelectorAll(".method-words").forEach((one) => { one.hidden = one.dataset.method !== state.method; });
  };

  const showReadout = () => {
    const one = data.prompts[state.prompt];
    const favourite = (strength) => [
      token(one.tokens[cell(one.top, strength)[0]]), ` (${percent(cell(one.topProbability, strength)[0])})`,
    ];
    const parts = ["Most likely next: unsteered ", ...favourite(data.zero), ", steered ", ...favourite(state.strength), ". "];
    if (one.answer !== null && one.choices.length) {
      const margin = cell(one.margin);
      parts.push("Right is ", token(one.choices[one.answer]), `: margin ${signed(cell(one.margin, data.zero))} \u2192 `,
        element("b", `${signed(margin)} nats`), margin === null ? "." : margin > 0 ? ", right." : ", wrong.");
    } else {
      if (one.target !== null) parts.push("Right is ", token(one.target), ". ");
      parts.push("KL from the unsteered model ", element("b", `${cell(one.kl)?.toFixed(3) ?? "not finite"} nats`), ".");
    }
    by("says").replaceChildren(...parts);
    by("overall").textContent = data.n
      ? `On ${data.n.toLocaleString("en")} ${data.split} items: accuracy ${percent(cell(data.accuracy))} ` +
        `[${percent(cell(data.low))}, ${percent(cell(data.high))}], unsteered ${percent(cell(data.accuracy, data.zero))}; ` +
        `valid answers ${percent(cell(data.valid_rate), 0)}, unsteered ${percent(cell(data.valid_rate, data.zero), 0)}.`
      : "This task has no dev split, so no accuracy is shown.";
  };

  const showBars = () => {
    const one = data.prompts[state.prompt];
    const steered = cell(one.probability);
    const rows = steered.map((value, index) => ({ index, before: one.unsteered[index], after: value }));
    cell(one.top).forEach((index, rank) => {
      if (index >= steered.length) rows.push({ index, before: one.unsteered[index], after: cell(one.topProbability)[rank], isNew: true });
    });
    const rest = (name) => {
      const values = rows.map((row) => row[name]);
      return values.includes(null) ? null : Math.max(0, 1 - values.reduce((a, b) => a + b, 0));
    };
    rows.push({ index: -1, before: rest("before"), after: rest("after") });
    const firstNew = rows.findIndex((row) => row.isNew);
    by("bars").tBodies[0].replaceChildren(...rows.map(({ index, before, after }, place) => {
      const row = element("tr", undefined, place === firstNew || index < 0 ? "apart" : "");
      const name = element("td", undefined, "name");
      if (one.choiceTokens.includes(index)) {
        name.append(element("span", one.choiceTokens[one.answer] === index ? "right " : "wrong ", "mark"));
      }
      name.append(index < 0 ? element("span", "all other tokens", "mark") : token(one.tokens[index]));
      const pair = element("div", undefined, "bar-pair");
      for (const [value, kind] of [[before, "base"], [after, "steered"]]) {
        const bar = element("div", undefined, "bar " + kind);
        bar.style.width = 100 * (value ?? 0) + "%";
        pair.append(bar);
      }
      const bars = element("td");
      bars.append(pair);
      row.append(name, bars, element("td", `${percent(before)} \u2192 ${percent(after)}`, "value"));
      return row;
    }));
  };

  const showTexts = () => {
    const one = data.prompts[state.prompt];
    by("prompt-text").textContent = one.prompt;
    for (const [id, strength] of [["before", data.zero], ["after", state.strength]]) {
      const text = one.texts[cell(one.text, strength)];
      by(id).textContent = text.trim() ? text : "(nothing)";
      by(id).classList.toggle("empty", !text.trim());
    }
  };

  /* The two maps. */
  const axis = (title, values, extra) => ({
    title: { text: title, standoff: 8, font: { size: 13 } }, tickvals: values.map((_, index) => index), ticktext: values.map(String),
    color: Page.css("ink"), showgrid: false, zeroline: false, fixedrange: true, automargin: true, ...extra,
  });
  const font = () => ({ family: getComputedStyle(document.body).fontFamily, size: 13, color: Page.css("ink") });
  const method = () => data.methods.indexOf(state.method);
  const MAPS = {
    accuracy: () => ({
      values: data.accuracy[method()].map((row) => row.map((value, _) => 100 * (value - row[data.zero]))),
      text: data.accuracy[method()].map((row) => row.map((value) => (100 * value).toFixed(0))),
      // One item more or less must not look like a cliff.
      hover: "accuracy %{text}% (%{z:+.1f} points)", bar: "points over unsteered", atLeast: 10,
      note: "Colour: points gained or lost against the unsteered model. Numbers: accuracy in %.",
    }),
    margin: () => ({
      values: data.margin[method()].map((row) => row.map((value) => (value === null ? null : value - row[data.zero]))),
      text: data.margin[method()].map((row) => row.map((value) => value?.toFixed(1) ?? "")),
      hover: "margin %{text} nats (%{z:+.2f})", bar: "nats over unsteered",
      note: "Mean log-probability of the right choice minus the best wrong one. Colour: change against the unsteered model.",
    }),
    prompt: () => ({
      values: data.prompts[state.prompt].margin[method()],
      text: data.prompts[state.prompt].margin[method()].map((row) => row.map((value) => value?.toFixed(1) ?? "")),
      hover: "margin %{z:+.2f} nats", bar: "nats",
      note: "Log-probability of the right choice minus the best wrong one, on this prompt. Blue: answered right.",
    }),
    kl: () => ({
      values: data.prompts[state.prompt].kl[method()],
      text: data.prompts[state.prompt].kl[method()].map((row) => row.map((value) => value?.toFixed(value < 0.995 ? 2 : 1) ?? "")),
      hover: "KL %{z:.3f} nats", bar: "nats", sequential: true,
      note: "KL(steered || unsteered) of the next token, on this prompt: how far the prediction moved.",
    }),
  };
  const showGrid = () => {
    const shown = MAPS[state.map]();
    const known = shown.values.flat().filter((value) => value !== null).map(Math.abs);
    const limit = Math.max(...known, shown.atLeast ?? 1e-9);
    const plot = by("grid");
    const width = plot.clientWidth;
    const numbers = width / data.strengths.length > 30;
    const scale = shown.sequential ? [[0, Page.css("paper")], [1, Page.css("adaptive")]] : data.diverging[Page.theme()];
    const mark = (color, size, line) => ({
      type: "scatter", mode: "markers", x: [state.strength], y: [state.k], hoverinfo: "skip",
      marker: { symbol: "square-open", size, color, line: { width: line, color } },
    });
    const height = Math.max(220, 34 * data.ks.length + 90);
    const side = Math.min(34, (width - 130) / data.strengths.length) - 4;
    return Plotly.react(plot, [
      {
        type: "heatmap", z: shown.values, text: shown.text, texttemplate: numbers ? "%{text}" : "",
        customdata: data.ks.map((k) => data.strengths.map((strength) => `K ${k}, strength ${strength}`)),
        hovertemplate: "<b>%{customdata}</b><br>" + shown.hover + "<extra></extra>", hoverongaps: false, xgap: 1, ygap: 1,
        colorscale: scale, zmin: shown.sequential ? 0 : -limit, zmax: limit,
        colorbar: { thickness: 12, outlinewidth: 0, title: { text: shown.bar, side: "right", font: { size: 12 } }, tickfont: { size: 11 } },
        showscale: width > 420,
      },
      mark(Page.css("paper"), side, 6), mark(Page.css("ink"), side, 3),
    ], {
      width, height, margin: { l: 10, r: 10, t: 8, b: 10 }, font: font(), showlegend: false, dragmode: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: Page.css("gap"),
      hoverlabel: { bgcolor: Page.css("paper"), font: { color: Page.css("ink") }, bordercolor: Page.css("muted") },
      xaxis: axis("strength", data.strengths, { range: [-0.55, data.strengths.length - 0.45] }),
      yaxis: axis(`K (${data.unit}s)`, data.ks, { range: [data.ks.length - 0.45, -0.55] }),
    }, { ...Page.config("k_strength"), displayModeBar: false });
  };
  const showElements = () => {
    const plot = by("elements");
    const figure = elements[Page.theme()];
    const width = plot.clientWidth;
    const small = width < 520;
    const chosen = units();
    const marks = (color, line) => (data.boxes
      ? {
        type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, line: { color, width: line },
        x: chosen.flatMap(([, unit]) => [unit - 0.5, unit + 0.5, unit + 0.5, unit - 0.5, unit - 0.5, null]),
        y: chosen.flatMap(([layer]) => [layer - 0.5, layer - 0.5, layer + 0.5, layer + 0.5, layer - 0.5, null]),
      }
      : {
        type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false, cliponaxis: false,
        x: chosen.map(([, unit]) => unit), y: chosen.map(([layer]) => layer),
        marker: { symbol: "circle-open", size: 10, color, line: { width: line, color } },
      });
    const traces = figure.data.map((trace) => (trace.type === "heatmap" ? { ...trace, showscale: !small } : trace));
    const margin = { ...figure.layout.margin, l: 46, b: 46, ...(small ? { r: 10 } : {}) };
    return Plotly.react(plot, [...traces, marks(Page.css("paper"), 5), marks(Page.css("ink"), 2)], {
      ...figure.layout, width, margin, dragmode: false, paper_bgcolor: "rgba(0,0,0,0)",
      annotations: small ? [] : figure.layout.annotations,
    }, { ...Page.config("units"), displayModeBar: false });
  };
  const showSelected = () => {
    const names = units().map(([layer, unit]) => data.labels[`${layer},${unit}`]);
    const most = 24;
    by("selected").textContent = `Marked: ${names.slice(0, most).join(", ")}` +
      (names.length > most ? ` and ${names.length - most} more.` : ".");
  };

  const show = () => {
    if (state.map === "prompt" && !data.prompts[state.prompt].choices.length) state.map = "kl";
    showControls(); showReadout(); showBars(); showTexts(); showGrid(); showElements(); showSelected();
    by("map-note").textContent = MAPS[state.map]().note + " Click a cell to go there.";
    write();
  };
  const move = (changes) => { Object.assign(state, changes); show(); };

  by("prompt").addEventListener("change", (event) => move({ prompt: Number(event.target.value) }));
  for (const name of ["k", "strength"]) by(name).addEventListener("input", (event) => move({ [name]: Number(event.target.value) }));
  controls.elements.method.forEach((one) => one.addEventListener("change", () => move({ method: one.value })));
  controls.addEventListener("submit", (event) => event.preventDefault());
  mapMenu.addEventListener("change", () => move({ map: mapMenu.value }));
  by("best")?.addEventListener("click", () => {
    const [k, strength] = data.best[state.method];
    move({ k, strength });
  });
  by("reset").addEventListener("click", () => move({ strength: data.zero }));
  addEventListener("hashchange", () => { read(); show(); });
  addEventListener("resize", () => { showGrid(); showElements(); });
  Page.onTheme(() => { showGrid(); showElements(); });
  read();
  show();
  by("grid").on("plotly_click", (event) => move({ k: event.points[0].y, strength: event.points[0].x }));
}
