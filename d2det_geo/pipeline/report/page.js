"use strict";
(() => {
  // Colours in the data of charts are names of the style, so that charts change with it. Names of classes are not.
  const coloured = (value, style, key = "") => {
    if (typeof value === "string") {
      const name = /color$/.test(key) && /^var\((--[\w-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((item) => coloured(item, style, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style, key)]));
    }
    return value;
  };

  const layout = (own, style, width) => {
    const axis = {
      gridcolor: "var(--line)", linecolor: "var(--muted)", zeroline: false, showline: true, ticks: "outside",
      tickcolor: "var(--muted)", fixedrange: true, dtick: 0.2,
    };
    return coloured({
      font: { family: "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", size: 13, color: "var(--text)" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, hovermode: "closest",
      margin: { l: 52, r: 14, t: 10, b: 46 },
      hoverlabel: { bgcolor: "var(--raised)", bordercolor: "var(--line)", font: { color: "var(--text)" }, namelength: -1 },
      legend: width < 640 ? { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 } : { y: 1, x: 1.01 },
      ...own, xaxis: { ...axis, ...own.xaxis }, yaxis: { ...axis, ...own.yaxis },
    }, style);
  };

  const draw = (plot) => {
    const spec = JSON.parse(document.getElementById(plot.id + "-data").textContent);
    const choice = document.getElementById(plot.id + "-view");
    const style = getComputedStyle(document.documentElement);
    const traces = coloured(spec.views[choice ? Number(choice.value) : 0], style);
    return Plotly.react(plot, traces, layout(spec.layout, style, plot.clientWidth), {
      displayModeBar: false, responsive: true,
    });
  };

  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = () => plots.forEach(draw);
  for (const plot of plots) {
    document.getElementById(plot.id + "-view")?.addEventListener("change", () => draw(plot));
  }
  drawAll();
  for (const query of ["(prefers-color-scheme: dark)", "print", "(max-width: 760px)"]) {
    matchMedia(query).addEventListener("change", drawAll);
  }
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });

  for (const button of document.querySelectorAll("figure button")) {
    button.addEventListener("click", () => button.parentElement.classList.toggle("wide"));
  }

  const key = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  };
  const compare = (column, rising) => (first, second) => {
    const [a, b] = [key(first, column), key(second, column)];
    if (a !== null && b !== null) return rising ? a - b : b - a;
    if (a !== null || b !== null) return a === null ? 1 : -1;
    const order = first.cells[column].textContent.localeCompare(second.cells[column].textContent);
    return rising ? order : -order;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
      const rising = column === 0
        ? heading.getAttribute("aria-sort") !== "ascending" : heading.getAttribute("aria-sort") === "descending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare(column, rising)));
    }));
  }
})();
