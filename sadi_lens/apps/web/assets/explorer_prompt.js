/* One prompt: three texts, the next token, two pushes. */
{
  const { by, state, grid, prompt, row, under, percent, signed, visible, element, token, svg } = App;
  const METHODS = ["unsteered", "adaptive", "fixed"];
  const names = () => ({
    unsteered: "unsteered", adaptive: state.donated && prompt().donated ? "another prompt\u2019s push" : "SADI (adaptive)", fixed: "fixed vector",
  });

  const verdict = ({ from, get }) => {
    const text = from.texts[get("text")].join("").trim();
    if (from.choices.length && get("favourite") >= 0) {
      const choice = from.choices[get("favourite")];
      const isRight = get("favourite") === from.answer;
      if (get("writes")) return ["answers ", token(choice), ": ", element("b", isRight ? "right" : "wrong")];
      return ["prefers ", token(choice), isRight ? " (the right one)" : " (a wrong one)", ", ", element("b", `but writes \u201c${text}\u201d`)];
    }
    if (from.choices.length || from.target !== null) return ["writes ", element("b", get("writes") ? "the right answer" : "something else")];
    return [];
  };

  const showCards = () => {
    const one = prompt();
    by("prompt-text").textContent = one.prompt;
    const right = one.answer !== null && one.choices.length ? one.choices[one.answer] : one.target;
    by("right").replaceChildren(...(right === null ? [] : ["Right is ", token(right), "."]));
    by("stratum").textContent = one.stratum === null ? "" : sentence(one);
    by("position").textContent = grid().position;
    for (const card of document.querySelectorAll("#one .card[data-method]")) {
      const method = card.dataset.method;
      const cell = under(method);
      const pieces = cell.from.texts[cell.get("text")];
      const changes = cell.get("change");
      card.querySelector("h3").textContent = names()[method];
      const text = card.querySelector(".text");
      text.classList.toggle("empty", !pieces.join("").trim());
      text.replaceChildren(...(pieces.join("").trim() ? pieces.map((piece, place) => shaded(piece, changes[place] / 10)) : ["(nothing)"]));
      text.setAttribute("aria-label", pieces.map((piece, place) => `${piece.trim() || visible(piece)} ${signed(changes[place] / 10, 1)}`).join(", "));
      card.querySelector(".verdict").replaceChildren(...verdict(cell));
      const margin = cell.get("margin");
      const mean = changes.reduce((sum, change) => sum + change / 10, 0) / (changes.length || 1);
      card.querySelector(".change").textContent = [
        one.choices.length ? `margin ${signed(margin)} nats` : "",
        method === "unsteered" || !changes.length ? "" : `tokens ${signed(mean, 1)} nats each`,
        method !== "unsteered" ? `KL ${cell.get("kl")?.toFixed(2) ?? "not finite"}` : "",
      ].filter(Boolean).join(" \u00b7 ");
    }
  };

  const sentence = (one) => {
    const [k, strength] = grid().cell;
    const found = grid().strata.find(({ words }) => words === one.stratum);
    return `${found.n} of ${grid().n} items are like this one: ${one.stratum} (at K ${grid().ks[k]}, strength ${grid().strengths[strength]}).`;
  };

  const shaded = (piece, change) => {
    const made = element("span", piece, change > 0.05 ? "shade up" : change < -0.05 ? "shade down" : "shade");
    made.style.setProperty("--much", `${Math.round(Math.min(1, Math.abs(change) / 3) * 62)}%`);
    made.title = `${visible(piece)}: ${signed(change, 1)} nats against the unsteered model`;
    return made;
  };

  const showBars = () => {
    const one = prompt();
    const cells = METHODS.map(under);
    const probability = (cell, text) => {
      const place = cell.from.tokens.indexOf(text);
      const few = cell.get("probability");
      if (place >= 0 && place < few.length) return few[place];
      const rank = cell.get("top").indexOf(place);
      return rank < 0 ? undefined : cell.get("topProbability")[rank];
    };
    const kept = one.tokens.slice(0, one.probability[0][0][0].length);
    const fresh = cells.slice(1).flatMap((cell) => cell.get("top").slice(0, 3).map((place) => cell.from.tokens[place]));
    const rows = [...new Set([...kept, ...fresh])];
    by("bars").tBodies[0].replaceChildren(...rows.map((text, place) => {
      const line = element("tr", undefined, place === kept.length ? "apart" : "");
      const name = element("td", undefined, "name");
      const begins = one.choiceTokens.flatMap((at, choice) => (one.tokens[at] === text ? [choice === one.answer ? "right" : "wrong"] : []));
      if (begins.length && place < kept.length) name.append(element("span", `${[...new Set(begins)].sort().join(" and ")} `, "mark"));
      name.append(token(text));
      const values = cells.map((cell) => probability(cell, text));
      const bars = element("td");
      const stack = element("div", undefined, "bar-stack");
      values.forEach((value, index) => {
        const bar = element("div", undefined, `bar ${METHODS[index]}`);
        bar.style.width = (value ?? 0) / 10 + "%";
        stack.append(bar);
      });
      bars.append(stack);
      const words = values.map((value) => (value === undefined ? "\u2013" : value === null ? "not finite" : percent(value / 1000, 0)));
      line.append(name, bars, element("td", words.join(" \u00b7 "), "value"));
      return line;
    }));
  };

  /* Arrows at their true length and their true angle to this prompt's own push, which points up. */
  const SIZE = 340;
  const reach = (pushes, strength) => Math.max(...pushes.norm.map((one) => Math.abs(one[row()][strength])), pushes.fixed[row()][strength]);
  const scale = (pushes) => {
    const { strengths } = grid();
    const last = strengths.length - 1;
    // One scale for all, and a small strength would be a point: up to the cell that the page opens on, and two beyond.
    const stop = [grid().cell[1] + 1, grid().cell[1] + 3, last].find((one) => state.strength <= one && one <= last) ?? last;
    return Math.max(reach(pushes, 0), reach(pushes, stop)) || 1;
  };
  const arrow = (length, degrees, kind, most) => {
    const far = (length / most) * (SIZE / 2 - 14);
    const head = Math.min(9, far);
    const mark = svg("g", { class: `arrow ${kind}`, transform: `rotate(${degrees.toFixed(1)})` });
    if (far > 0.5) mark.append(svg("path", { d: `M0 0V${-(far - head * 0.7)}` }), svg("path", { class: "head", d: `M0 ${-far}l${head * 0.5} ${head}h${-head}z` }));
    return mark;
  };
  /** The largest of 1, 2, 5, 10, ... of which two rings fit. */
  const step = (most) => {
    const ten = 10 ** Math.floor(Math.log10(most / 2));
    return ten * (most / 2 >= 5 * ten ? 5 : most / 2 >= 2 * ten ? 2 : 1);
  };
  const ring = (length, most) => {
    const radius = (length / most) * (SIZE / 2 - 14);
    return [svg("circle", { r: radius, class: "ringline" }), svg("text", { x: 0, y: radius + 12, class: "tick", "text-anchor": "middle" }, Number(length.toPrecision(2)))];
  };

  const showArrows = () => {
    const { pushes } = grid();
    const me = state.prompts[state.tab];
    const one = prompt();
    const [r, s] = [row(), state.strength];
    const most = scale(pushes);
    const own = pushes.norm[me][r][s];
    const fixed = pushes.fixedDegrees[me][r][s];
    const isGiven = state.donated && one.donated !== null;
    const others = pushes.norm.map((norm, index) => ({ index, length: norm[r][s], degrees: pushes.degrees[me][index][r][s] }))
      .filter(({ index, degrees }) => index !== me && degrees !== null);
    const drawing = svg("svg", { viewBox: `${-SIZE / 2} ${-SIZE / 2} ${SIZE} ${SIZE}`, role: "img" }, ...[1, 2].flatMap((times) => ring(times * step(most), most)));
    for (const { index, length, degrees } of others) {
      if (!(isGiven && index === one.donor)) drawing.append(arrow(length, -degrees, "adaptive faint", most));
    }
    if (fixed !== null) drawing.append(arrow(pushes.fixed[r][s], fixed, "fixed", most));
    drawing.append(arrow(own, 0, isGiven ? "adaptive faint" : "adaptive", most));
    const donor = others.find(({ index }) => index === one.donor);
    if (isGiven && donor) drawing.append(arrow(donor.length, -donor.degrees, "adaptive given", most));
    drawing.append(svg("circle", { r: 3.5, class: "origin" }));
    const words = s === grid().zero ? "Strength 0: no push. Move the strength, and the arrows grow."
      : `Up: this prompt\u2019s own push, ${own.toFixed(1)} long, from its own activation. Right: the fixed push, ${pushes.fixed[r][s].toFixed(1)} long` +
        (fixed === null ? "." : `, ${fixed}\u00b0 off, and the same for every prompt.`) +
        (others.length ? ` Thin, to the left: the own pushes of the other ${others.length} prompts.` : "") +
        (isGiven && donor ? ` Given: that of prompt ${one.donor + 1}, ${donor.degrees}\u00b0 off.` : "");
    drawing.setAttribute("aria-label", words);
    by("arrows").replaceChildren(drawing);
    by("arrows-note").textContent = `${words} Lengths, and angles to the upright arrow, are true in all dimensions (activation units at the last prompt token, all layers together).`;
  };

  App.parts.push({ show: () => { showCards(); showBars(); showArrows(); } });
}
