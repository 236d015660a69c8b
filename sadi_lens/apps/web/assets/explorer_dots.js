/* One dot an item, a column a method. */
{
  const { main, by, state, isRight, percent, element, svg } = App;
  const field = by("field");
  const ORDER = (word) => [word[0], word[1] === "1" ? "0" : "1", word[2] === "1" ? "0" : "1"].join("");
  // Wrong without steering first; in both blocks, what happens alike at the cell that the page opens on stands together.
  const order = main.dots.map((_, place) => place)
    .sort((a, b) => ORDER(main.outcomes[a]).localeCompare(ORDER(main.outcomes[b])) || a - b);
  const nWrong = main.outcomes.filter((word) => word[0] === "0").length;
  const count = (method, test = () => true) => {
    let found = 0;
    for (let item = 0; item < main.n; item++) if (isRight(method, item) && test(item)) found++;
    return found;
  };
  const base = Array.from({ length: main.n }, (_, item) => isRight("unsteered", item));
  const nRight = base.reduce((sum, one) => sum + one, 0);
  let chosen = null;
  const columns = field ? [...field.querySelectorAll(".column")] : [];

  const places = (width) => {
    const pitch = Math.max(8.6, Math.min(24, Math.sqrt((width * (width < 200 ? 260 : 190)) / order.length)));
    const across = Math.max(1, Math.floor(width / pitch));
    const top = 18;
    const spots = [];
    let y = top;
    for (const [from, to] of [[0, nWrong], [nWrong, order.length]]) {
      for (let n = from; n < to; n++) {
        spots.push([((n - from) % across + 0.5) * pitch, y + (Math.floor((n - from) / across) + 0.5) * pitch]);
      }
      y += Math.ceil((to - from) / across) * pitch + (from === 0 ? 26 : 0);
    }
    return { spots, pitch, height: y + 2, second: top + Math.ceil(nWrong / across) * pitch + 20 };
  };

  const near = (event, drawing, spots) => {
    const box = drawing.getBoundingClientRect();
    const [x, y] = [event.clientX - box.x, event.clientY - box.y];
    const far = spots.map(([a, b]) => (a - x) ** 2 + (b - y) ** 2);
    const best = far.indexOf(Math.min(...far));
    return far[best] < 400 ? best : null;
  };

  const draw = (column, width) => {
    const box = column.querySelector(".dots");
    const { spots, pitch, height, second } = places(width);
    const size = pitch * 0.4;
    const label = (y, text) => svg("text", { x: 0, y, class: "tick" }, text);
    const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application" },
      label(12, `wrong before: ${nWrong}`), label(second, `right before: ${order.length - nWrong}`),
      ...spots.map(([x, y]) => svg("g", { class: "dot", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
        svg("circle", { r: size.toFixed(2) }),
        svg("path", { d: `M${-size * 0.6} ${-size * 0.6}L${size * 0.6} ${size * 0.6}M${-size * 0.6} ${size * 0.6}L${size * 0.6} ${-size * 0.6}` }))),
      svg("circle", { r: (size + 2.5).toFixed(2), class: "ring", visibility: "hidden" }));
    drawing.addEventListener("pointermove", (event) => choose(near(event, drawing, spots) ?? chosen));
    drawing.addEventListener("click", (event) => choose(near(event, drawing, spots) ?? chosen));
    drawing.addEventListener("keydown", (event) => {
      const across = Math.max(1, Math.floor(width / pitch));
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(Math.max(0, Math.min(order.length - 1, chosen === null ? 0 : chosen + step)));
    });
    box.replaceChildren(drawing);
    column.spots = spots;
  };

  const choose = (place) => {
    if (place === chosen) return;
    chosen = place;
    showItem();
  };

  const showItem = () => {
    columns.forEach((column) => {
      const ring = column.querySelector(".ring");
      ring.setAttribute("visibility", chosen === null ? "hidden" : "visible");
      if (chosen !== null) ring.setAttribute("transform", `translate(${column.spots[chosen].join(" ")})`);
    });
    if (chosen === null) {
      by("item").textContent = "Point at a dot, tap it, or reach it with the arrow keys: what it is stands here.";
      return;
    }
    const item = main.dots[order[chosen]];
    const words = [["unsteered", "unsteered"], ["adaptive", state.donated ? "with another prompt\u2019s push" : "with SADI"],
      ["fixed", "with the fixed vector"], ["random", `with random ${main.unit}s`]]
      .map(([method, name]) => `${isRight(method, item) ? "right" : "wrong"} ${name}`);
    by("item").replaceChildren(element("b", `Item ${item + 1}: `), main.items[order[chosen]] + " ",
      element("b", main.answers[order[chosen]]), ` is right. ${words.join(", ")}.`);
    const shown = main.prompts.findIndex((one) => one.item === item);
    if (shown >= 0) {
      const button = element("button", "see it below", "quiet");
      button.type = "button";
      button.addEventListener("click", () => {
        App.move({ tab: 0, prompts: [shown, ...state.prompts.slice(1)] });
        by("one").scrollIntoView();
      });
      by("item").append(" ", button);
    }
  };

  const show = () => {
    for (const column of columns) {
      const method = column.dataset.method;
      const right = count(method);
      const mended = count(method, (item) => !base[item]);
      const broken = nRight - (right - mended);
      const isGiven = method === "adaptive" && state.donated;
      if (method === "adaptive") column.querySelector("h3").textContent = isGiven ? "another prompt\u2019s push" : "SADI (adaptive)";
      column.querySelector(".count").replaceChildren(element("b", String(right)), ` of ${main.n} right (${percent(right / main.n)})`);
      const valid = isGiven ? null : main.valid_rate[main.methods.indexOf(method)][state.k][state.strength];
      column.querySelector(".moved").textContent = (state.strength === main.zero ? "without steering"
        : `mended ${mended} of ${main.n - nRight}, broke ${broken} of ${nRight}`) +
        (valid === null ? "" : `; ${percent(valid, 0)} valid answers`);
      const dots = [...column.querySelectorAll(".dot")];
      dots.forEach((dot, place) => dot.classList.toggle("right", Boolean(isRight(method, main.dots[order[place]]))));
      column.querySelector("svg").setAttribute("aria-label",
        `${column.querySelector("h3").textContent}: ${right} of ${main.n} items right. Arrow keys move from item to item.`);
    }
    by("counts").textContent = columns
      .map((column) => ["h3", ".count"].map((name) => column.querySelector(name).textContent).join(": ")).join("; ");
    showItem();
  };

  const mark = (isRightOne) => {
    const cell = element("td", undefined, isRightOne ? "mark right" : "mark wrong");
    cell.append(element("span", isRightOne ? "\u25cf" : "\u00d7"), element("span", isRightOne ? " right" : " wrong", "visually-hidden"));
    return cell;
  };
  const showOutcomes = () => {
    field.querySelector(".outcomes tbody").replaceChildren(...main.strata.map(({ outcome, n, words, isOpening }) => {
      const row = element("tr", undefined, isOpening ? "opening" : "");
      const cell = element("td", undefined, "number");
      const first = main.prompts.findIndex((one) => one.stratum === words);
      const button = element("button", String(n), "quiet");
      button.type = "button";
      button.disabled = first < 0;
      button.title = first < 0 ? words : `${words}: see one below`;
      button.setAttribute("aria-label", `${n} ${n === 1 ? "item" : "items"} ${words}${first < 0 ? "" : ": see one below"}`);
      button.addEventListener("click", () => App.move({ tab: 0, prompts: [first, ...state.prompts.slice(1)] }));
      const bar = element("span", undefined, "share");
      bar.style.width = `${(56 * n) / main.strata[0].n}px`;
      cell.append(button, bar);
      row.append(...outcome.map(mark), cell);
      return row;
    }));
    const [k, strength] = main.cell;
    by("outcomes-note").textContent = `At K ${main.ks[k]}, strength ${main.strengths[strength]}. The prompt below opens on the marked row: ` +
      (main.strata.some(({ outcome, isOpening }) => isOpening && outcome[0] !== outcome[1])
        ? "the commonest outcome of those in which SADI changes the answer."
        : "the commonest outcome. SADI changes hardly any answer here.");
  };

  if (field) {
    showOutcomes();
    let width = 0;
    App.parts.push({
      show: () => {
        if (width !== field.clientWidth) {
          width = field.clientWidth;
          // All widths first: a dot that was laid out as wrong would fade to right.
          const widths = columns.map((column) => column.querySelector(".dots").clientWidth);
          columns.forEach((column, place) => draw(column, widths[place]));
        }
        show();
      },
    });
  }
}
