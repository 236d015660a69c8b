/* The maps: K x strength, and the units of the model. */
{
  const { main, by, state, grid, prompt, rounded, signed, svg } = App;
  const mix = (a, b, share) => a.map((value, index) => Math.round(value + (b[index] - value) * share));
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  /** A colour of the diverging scale: -1 red, 0 pale, 1 blue. */
  const colour = (value) => {
    const stops = main.diverging[Page.theme()];
    const at = (Math.max(-1, Math.min(1, value)) + 1) / 2;
    const next = Math.max(1, stops.findIndex(([place]) => place >= at));
    const [[from, low], [to, high]] = [stops[next - 1], stops[next]];
    return mix(rgb(low), rgb(high), (at - from) / (to - from));
  };
  /** Without hue, as light as before: what chance gives. */
  const pale = ([r, g, b]) => Array(3).fill(Math.round(0.299 * r + 0.587 * g + 0.114 * b));
  const css = (color) => `rgb(${color.join()})`;
  /** Whether white reads better on a colour than black (WCAG: where its luminance is below 0.18). */
  const isDark = (color) => {
    const [r, g, b] = color.map((value) => (value <= 10 ? value / 3295 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.18;
  };

  const difference = (table) => table.map((line) => line.map((value) => (value === null || line[main.zero] === null ? null : value - line[main.zero])));
  const MAPS = {
    accuracy: (m) => ({
      values: difference(main.accuracy[m]), text: (value) => rounded(100 * value, 0), shown: main.accuracy[m],
      // One item more or less must not look like a cliff.
      atLeast: 0.1, note: "Numbers: accuracy in %. Blue: more than the unsteered model, red: less.",
    }),
    margin: (m) => ({
      values: difference(main.margin[m]), text: (value) => signed(value, 1).replace("+", ""), shown: main.margin[m],
      note: "Mean log-probability of the right choice minus the best wrong one (nats). Blue: more than the unsteered model.",
    }),
    prompt: (m) => ({
      values: prompt().margin[m], text: (value) => signed(value, 1).replace("+", ""), shown: prompt().margin[m],
      note: "Log-probability of the right choice minus the best wrong one, on this prompt (nats). Blue: the right one ahead.",
    }),
    kl: (m) => ({
      values: prompt().kl[m], text: (value) => value.toFixed(value < 0.995 ? 2 : 1), shown: prompt().kl[m],
      note: "KL(steered || unsteered) of the next token (nats), on this prompt: how far the prediction moved.",
    }),
  };

  const showGrid = () => {
    const boxes = [...document.querySelectorAll("#maps [data-method]")];
    const shown = boxes.map((box) => MAPS[state.map](main.methods.indexOf(box.dataset.method)));
    const known = shown.flatMap(({ values }) => values.flat()).filter((value) => value !== null).map(Math.abs);
    const limit = Math.max(...known, shown[0].atLeast ?? 1e-9);
    boxes.forEach((box, index) => drawGrid(box.querySelector(".map"), shown[index], limit, box.querySelector("h3").textContent));
    by("map-note").textContent = `${shown[0].note} Click a cell to go there.`;
  };
  const drawGrid = (box, { values, shown, text }, limit, name) => {
    const [rows, columns] = [main.ks.length, main.strengths.length];
    const [left, top, foot] = [38, 4, 34];
    const width = Math.max(200, box.clientWidth);
    const [w, h] = [(width - left - 2) / columns, 26];
    const label = (x, y, words, anchor = "middle") => svg("text", { x, y, class: "tick", "text-anchor": anchor }, words);
    const drawing = svg("svg", { width, height: top + rows * h + foot, viewBox: `0 0 ${width} ${top + rows * h + foot}`, role: "img", "aria-label": `${name}: map over K and strength; the sliders move the mark` });
    values.forEach((line, row) => line.forEach((value, column) => {
      const color = value === null ? null : colour(value / limit);
      const cell = svg("g", { class: "cell", transform: `translate(${left + column * w} ${top + row * h})` },
        svg("rect", { width: w - 1, height: h - 1, fill: color ? css(color) : Page.css("gap") }));
      if (value !== null) {
        cell.append(svg("text", { x: w / 2, y: h / 2 + 4, "text-anchor": "middle", fill: isDark(color) ? "#fff" : "#000" }, text(shown[row][column])));
      }
      cell.append(svg("title", {}, `K ${main.ks[row]}, strength ${main.strengths[column]}`));
      cell.addEventListener("click", () => App.move({ k: row, strength: column, donated: false }));
      drawing.append(cell);
    }));
    main.ks.forEach((k, row) => drawing.append(label(left - 5, top + row * h + h / 2 + 4, k, "end")));
    main.strengths.forEach((strength, column) => drawing.append(label(left + (column + 0.5) * w, top + rows * h + 13, strength)));
    drawing.append(label(left + (columns * w) / 2, top + rows * h + 29, "strength"),
      svg("text", { class: "tick", transform: `translate(10 ${top + (rows * h) / 2}) rotate(-90)`, "text-anchor": "middle" }, "K"),
      frame(left + state.strength * w, top + state.k * h, w - 1, h - 1));
    box.replaceChildren(drawing);
  };
  const frame = (x, y, width, height, kind = "") => svg("g", { class: `frame ${kind}` },
    svg("rect", { x, y, width, height, class: "halo" }), svg("rect", { x, y, width, height }));

  const showElements = () => {
    const { elements, unit, units, randomUnits, ks } = grid();
    const k = ks.length === 1 ? 0 : state.k;
    const { edges, values, limit, grey } = elements;
    const last = edges.at(-1);
    const width = Math.max(240, by("elements").clientWidth);
    const [left, top, foot] = [38, 4, 34];
    const across = Math.min(1000, width - left - 4, last * 44);
    const h = Math.max(7, Math.min(28, 420 / values.length));
    const x = (place) => left + (place / last) * across;
    const box = [left + across + 4, top + values.length * h + foot];
    const drawing = svg("svg", { width: box[0], height: box[1], viewBox: `0 0 ${box.join(" ")}`, role: "img", "aria-label": `Mean difference of every ${unit}; the steered ones are framed` });
    const gap = h > 12 && across / (edges.length - 1) > 8 ? 1 : 0;
    values.forEach((line, layer) => line.forEach((value, column) => {
      const one = svg("rect", {
        x: x(edges[column]), y: top + layer * h, width: Math.max(0.5, x(edges[column + 1]) - x(edges[column]) - gap), height: h - gap,
        fill: value === null ? Page.css("gap") : css(grey[layer][column] === "1" ? pale(colour(value / limit)) : colour(value / limit)),
      });
      one.append(svg("title", {}, `layer ${layer}, ${unit} ${edges[column]}${edges[column + 1] - edges[column] > 1 ? `\u2013${edges[column + 1] - 1}, furthest` : ""}: ${value ?? "not finite"}`));
      drawing.append(one);
    }));
    const isCell = last === edges.length - 1;
    const ring = ([layer, place], kind) => (isCell
      ? frame(x(place), top + layer * h, x(place + 1) - x(place) - gap, h - gap, kind)
      : svg("g", { class: `frame ${kind}` }, ...["halo", ""].map((name) => svg("circle", { cx: x(place + 0.5), cy: top + (layer + 0.5) * h, r: 5, class: name }))));
    drawing.append(...randomUnits[k].map((one) => ring(one, "random")), ...units.slice(0, ks[k]).map((one) => ring(one, "chosen")));
    const every = Math.ceil(values.length / 16);
    values.forEach((_, layer) => {
      if (layer % every === 0) drawing.append(svg("text", { x: left - 5, y: top + (layer + 0.5) * h + 4, class: "tick", "text-anchor": "end" }, layer));
    });
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((one) => last / one <= across / 36) ?? last;
    for (let place = 0; place < last; place += step) drawing.append(svg("text", { x: x(place + (isCell ? 0.5 : 0)), y: top + values.length * h + 14, class: "tick", "text-anchor": "middle" }, place));
    drawing.append(svg("text", { x: left + across / 2, y: top + values.length * h + 30, class: "tick", "text-anchor": "middle" }, unit),
      svg("text", { class: "tick", transform: `translate(9 ${top + (values.length * h) / 2}) rotate(-90)`, "text-anchor": "middle" }, "layer"));
    by("elements").replaceChildren(drawing);
    by("where-title").textContent = `Which ${unit}s?`;
    showSelected(units.slice(0, ks[k]), randomUnits[k]);
  };
  const showSelected = (chosen, random) => {
    const most = 24;
    const names = (units) => units.slice(0, most).map(([layer, unit]) => grid().labels[`${layer},${unit}`]).join(", ") +
      (units.length > most ? ` and ${units.length - most} more` : "");
    by("selected").textContent = `Steered by SADI and by the fixed vector (framed): ${names(chosen)}. Drawn at random (dashed): ${names(random)}.`;
  };

  App.parts.push({ show: () => {
    if (state.map === "prompt" && !prompt().choices.length) state.map = "kl";
    if (["prompt", "kl"].includes(state.map) && grid() !== main) state.map = by("map").options[0].value;
    showGrid();
    showElements();
  } });
}
