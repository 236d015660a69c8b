const plots = [...document.querySelectorAll(".plot")].map((plot) => [plot, Page.data(plot.dataset.figure)]);
const drawAll = () => plots.forEach(([plot, figures]) => Page.draw(plot, figures));
drawAll();
Page.onTheme(drawAll);
addEventListener("resize", () => plots.forEach(([plot, figures]) => {
  const narrow = figures.light.layout.width > plot.parentElement.clientWidth;
  if (narrow !== (plot.layout.dragmode === false)) Page.draw(plot, figures);
}));
