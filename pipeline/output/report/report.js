"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const main = one("main");
  for (const element of all(".needs-script")) element.hidden = false;

  // Light or dark: the system's choice until the button is pressed.
  const theme = one("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const name = () => { if (theme) theme.textContent = isDark() ? "Light" : "Dark"; };
  if (theme) theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();

  // The gallery.
  const samples = all("article.pair");
  const shown = () => samples.filter((sample) => !sample.hidden);
  const group = one("#group");
  const mode = one("#mode");
  const setMode = (value) => {
    main.dataset.mode = value;
    for (const range of all("input.cut")) range.hidden = value !== "slider";
  };
  const choose = () => {
    for (const sample of samples)
      sample.hidden = group.value !== "" && !sample.dataset.groups.split(" ").includes(group.value);
  };
  if (group) {
    group.addEventListener("change", choose);
    if (group.options.length > 2) { group.selectedIndex = 1; choose(); }
  }
  if (mode) mode.addEventListener("change", () => setMode(mode.value));
  for (const range of all("input.cut"))
    range.addEventListener("input", () => range.closest("article").style.setProperty("--cut", `${range.value}%`));
  for (const box of all(".legend input[data-class]"))
    box.addEventListener("change", () => {
      for (const shape of all(".frame [data-class]"))
        if (shape.dataset.class === box.dataset.class) shape.classList.toggle("off", !box.checked);
    });

  const step = (by) => {
    const visible = shown();
    const at = visible.indexOf(document.activeElement.closest("article.pair"));
    const next = visible[at < 0 ? (by > 0 ? 0 : visible.length - 1) : Math.min(Math.max(at + by, 0), visible.length - 1)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const here = event.target.closest("article.pair");
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "b" && one("#outlines")) one("#outlines").click();
    else if (event.key === "m" && mode) {
      mode.selectedIndex = (mode.selectedIndex + 1) % mode.options.length;
      setMode(mode.value);
    } else if (event.key === " " && here) here.classList.add("held");
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", () => { for (const sample of all(".held")) sample.classList.remove("held"); });

  // Copying.
  for (const button of all("button.copy"))
    button.addEventListener("click", async () => {
      const text = one(`#${button.dataset.copies}`);
      try {
        await navigator.clipboard.writeText(text.textContent);
      } catch {
        // Without the right to write there, the text is selected and copied as by hand.
        const range = document.createRange();
        range.selectNodeContents(text);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });

  // Two metrics against each other.
  const data = JSON.parse(one("#page-data").textContent);
  const across = one("#scatter-x"), up = one("#scatter-y"), place = one("#scatter");
  if (!place || !data.metrics || data.metrics.length < 2) return;
  const svg = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const spread = (values) => {
    const low = Math.min(...values), high = Math.max(...values);
    return high > low ? [low, high] : [low - 0.5, low + 0.5];
  };
  const figure = (value) => Number(value.toPrecision(3)).toString();
  const draw = () => {
    const x = across.selectedIndex, y = up.selectedIndex;
    const rows = data.rows.filter((row) => row[2 + x] !== null && row[2 + y] !== null);
    place.replaceChildren();
    if (!rows.length) { place.textContent = "No sample has both."; return; }
    const [width, height, left, bottom] = [380, 240, 52, 30];
    const [x0, x1] = spread(rows.map((row) => row[2 + x])), [y0, y1] = spread(rows.map((row) => row[2 + y]));
    const atX = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - 12);
    const atY = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - bottom - 12);
    const label = `${data.metrics[y]} against ${data.metrics[x]}`;
    const drawing = svg("svg", { class: "plot", role: "img", viewBox: `0 0 ${width} ${height}`, "aria-label": label });
    for (let n = 0; n <= 4; n++) {
      const vx = x0 + ((x1 - x0) * n) / 4, vy = y0 + ((y1 - y0) * n) / 4;
      drawing.append(svg("line", { class: "grid", x1: left, x2: width - 12, y1: atY(vy), y2: atY(vy) }));
      drawing.append(svg("text", { class: "tick", "text-anchor": "end", x: left - 6, y: atY(vy) + 4 }, figure(vy)));
      drawing.append(svg("text", { class: "tick", "text-anchor": "middle", x: atX(vx), y: height - 12 }, figure(vx)));
    }
    for (const row of rows) {
      const sample = samples.find((each) => each.dataset.key === row[0]);
      const kind = `point${row[1] ? "" : " left-out"}${sample ? " leads" : ""}`;
      const point = svg("circle", { class: kind, cx: atX(row[2 + x]), cy: atY(row[2 + y]), r: sample ? 4.5 : 3 });
      const said = `${row[0]}: ${data.metrics[x]} ${row[2 + x]}, ${data.metrics[y]} ${row[2 + y]}`;
      point.append(svg("title", {}, said));
      point.addEventListener("click", () => {
        one("#scatter-said").textContent = said;
        if (sample) { sample.hidden = false; sample.focus(); sample.scrollIntoView({ block: "center" }); }
      });
      drawing.append(point);
    }
    place.append(drawing);
  };
  for (const [select, chosen] of [[across, 0], [up, 1]]) {
    for (const metric of data.metrics) select.append(new Option(metric, metric));
    select.selectedIndex = chosen;
    select.addEventListener("change", draw);
  }
  draw();
})();
