/* The controls. */
{
  const { grids, main, by, state, read, write, canGive } = App;
  const tabs = grids.map((_, index) => by(`tab-${index}`)).filter(Boolean);

  const showControls = () => {
    for (const [name, values] of [["k", main.ks], ["strength", main.strengths]]) {
      by(name).value = state[name];
      by(name).setAttribute("aria-valuetext", `${name === "k" ? "K" : name} ${values[state[name]]}`);
      by(name + "-value").value = values[state[name]];
    }
    by("k").disabled = state.donated || state.tab > 0;
    by("donate").setAttribute("aria-pressed", state.donated);
    by("donate").textContent = state.donated ? "give each prompt its own push" : "give another prompt\u2019s push";
    by("donate").hidden = !canGive();
    by("map").value = state.map;
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", index === state.tab);
      tab.tabIndex = index === state.tab ? 0 : -1;
    });
    by("prompt-panel").setAttribute("aria-labelledby", `tab-${state.tab}`);
    by("k-unit").textContent = `${main.unit}s`;
    document.querySelectorAll("[data-tab]").forEach((one) => { one.hidden = Number(one.dataset.tab) !== state.tab; });
    by(`prompt-${state.tab}`).value = state.prompts[state.tab];
  };
  const show = () => {
    App.parts.forEach((part) => part.show());
    showControls();
    write();
  };
  App.move = (changes) => {
    Object.assign(state, changes);
    // Pushes of other prompts were computed at one K.
    if (state.donated) state.k = main.cell[0];
    show();
  };
  const { move } = App;

  for (const name of ["k", "strength"]) by(name).addEventListener("input", (event) => move({ [name]: Number(event.target.value) }));
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  by("best").addEventListener("click", () => move({ k: main.cell[0], strength: main.cell[1] }));
  by("reset").addEventListener("click", () => move({ strength: main.zero }));
  by("donate").addEventListener("click", () => move({ donated: !state.donated }));
  by("map").addEventListener("change", () => move({ map: by("map").value }));
  grids.forEach((_, index) => by(`prompt-${index}`).addEventListener("change", (event) => {
    move({ prompts: state.prompts.map((one, place) => (place === index ? Number(event.target.value) : one)) });
  }));
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => move({ tab: index }));
    tab.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      move({ tab: (index + 1) % tabs.length });
      tabs[state.tab].focus();
    });
  });
  addEventListener("hashchange", () => { read(); show(); });
  addEventListener("resize", show);
  Page.onTheme(show);
  read();
  show();
}
