"use strict";
/* Shared by every page: light and dark, plots that follow it, tables that sort. */
const Page = (() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const listeners = [];
  const order = ["system", "light", "dark"];
  let choice = "system";
  let printing = false;

  // Storage may be refused for a file that was opened from disk.
  const remember = (value) => { try { localStorage.setItem("sadi_lens.theme", value); } catch { /* not kept */ } };
  const recall = () => { try { return localStorage.getItem("sadi_lens.theme"); } catch { return null; } };

  const theme = () => (printing ? "light" : choice !== "system" ? choice : system.matches ? "dark" : "light");
  const announce = () => listeners.forEach((listener) => listener(theme()));
  const apply = (value) => {
    choice = order.includes(value) ? value : "system";
    if (choice === "system") root.removeAttribute("data-theme"); else root.dataset.theme = choice;
    button.textContent = "theme: " + choice;
    announce();
  };
  button.addEventListener("click", () => {
    apply(order[(order.indexOf(choice) + 1) % order.length]);
    remember(choice);
  });
  system.addEventListener("change", announce);
  addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    announce();
  });
  addEventListener("afterprint", () => { printing = false; announce(); });

  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const css = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const config = (name) => ({
    displaylogo: false, modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
    toImageButtonOptions: { filename: name, scale: 2 },
  });

  /** Draw the figure of a panel in the theme of the page; where it is wider than the page, it scrolls. */
  const draw = (plot, figures) => {
    const figure = figures[theme()];
    const narrow = figure.layout.width > plot.parentElement.clientWidth;
    // A swipe must scroll a figure that is cut off, not zoom it.
    const layout = { ...figure.layout, ...(narrow ? { dragmode: false } : {}) };
    plot.style.setProperty("--fit", Math.min(1, 680 / figure.layout.width));
    plot.parentElement.tabIndex = narrow ? 0 : -1;
    plot.closest("figure")?.classList.toggle("cut", narrow);
    return Plotly.react(plot, figure.data, layout, config(plot.id));
  };

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const isNumber = head.classList.contains("number");
      // Numbers are first wanted from the largest down, words from A on.
      const now = head.getAttribute("aria-sort");
      const next = now === "descending" ? "ascending" : now === "ascending" ? "descending"
        : isNumber ? "descending" : "ascending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        const text = cell.dataset.sort ?? cell.textContent.trim();
        return text === "" ? null : isNumber ? Number(text) : text;
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (isNumber ? x - y : x.localeCompare(y, "en", { numeric: true }));
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    }));
  };

  document.querySelectorAll("table.sortable").forEach(sortable);
  const watch = new ResizeObserver((found) => found.forEach(({ target }) => {
    target.parentElement.classList.toggle("cut", target.scrollWidth > target.clientWidth);
  }));
  document.querySelectorAll(".table > .scroll").forEach((box) => watch.observe(box));
  apply(recall() ?? "system");
  return { theme, data, css, config, draw, onTheme: (listener) => listeners.push(listener) };
})();
