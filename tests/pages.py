"""What the browser tests ask of every page."""

CONTRAST = """() => {
  const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    ink.clearRect(0, 0, 1, 1); ink.fillStyle = color; ink.fillRect(0, 0, 1, 1);
    return [...ink.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = rgba(getComputedStyle(one).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const isDrawn = element instanceof SVGElement;
    if (isDrawn && !element.closest(".xtick, .ytick, .xtitle, .ytitle, .legend, .tick, .cell")) continue;
    const style = getComputedStyle(element);
    const cell = element.closest(".cell");
    const ground = cell ? rgba(getComputedStyle(cell.querySelector("rect")).fill) : behind(element);
    const [a, b] = [light(rgba(isDrawn ? style.fill : style.color)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, element.textContent.trim().slice(0, 60)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""
"""Every visible text with its WCAG contrast against what is behind it, the worst first."""


def overflow(page):
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def check_quiet(page, path):
    """Nothing fetched but the file, nothing said on the console."""
    assert page.fetched == [path.as_uri()]
    assert page.complaints == []


def check_contrast(page):
    """Every visible text reaches the 4.5 of WCAG AA."""
    found = page.evaluate(CONTRAST)
    assert len(found) > 40
    assert [one for one in found if one[0] < 4.5] == []


TARGETS = """() => [...document.querySelectorAll("button, input, select, summary, nav a, [role=tab]")]
  .filter((one) => one.checkVisibility() && !one.closest(".modebar"))
  .filter((one) => Math.min(one.getBoundingClientRect().width, one.getBoundingClientRect().height) < 24)
  .map((one) => one.outerHTML.slice(0, 90))"""
"""Controls under 24 pixels, the least of WCAG 2.2 (2.5.8); plotly's own buttons, which only a mouse shows, apart."""


def check_targets(page):
    """Controls that are too small to hit."""
    return page.evaluate(TARGETS)
