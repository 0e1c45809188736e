const data = JSON.parse($("data").textContent);
const UNIT = 4; // parts of a thumbnail's pixel in outlines
const NO_OBJECTS = -1;
const whole = (n) => n.toLocaleString("en");
const named = (k) => data.classes[k].label || "(no name)";
const several = (n, one, many) => `${whole(n)} ${n === 1 ? one : many}`;

function swatch(k) {
  const made = el("span", { className: k === NO_OBJECTS ? "swatch none" : "swatch" });
  if (k !== NO_OBJECTS) made.style.background = data.classes[k].colour;
  return made;
}

const state = { chosen: new Set(), least: 0, sort: "set", masks: true };
const images = data.sample.map((image, at) => ({
  ...image,
  at,
  objects: image.objects.map(([k, score, area, path], number) => ({ k, score, area, path, number })),
}));
const order = {
  set: (a, b) => a.at - b.at,
  best: (a, b) => best(b) - best(a) || a.at - b.at,
  worst: (a, b) => worst(a) - worst(b) || a.at - b.at,
  most: (a, b) => b.matching.length - a.matching.length || a.at - b.at,
  least: (a, b) => a.matching.length - b.matching.length || a.at - b.at,
  name: (a, b) => a.id.localeCompare(b.id, "en", { numeric: true }) || a.at - b.at,
};
const best = (image) => Math.max(-1, ...image.matching.map((o) => o.score));
const worst = (image) => Math.min(2, ...image.matching.map((o) => o.score));
let shown = [];

const matches = (o) => o.score >= state.least && (!classesChosen() || state.chosen.has(o.k));
const classesChosen = () => state.chosen.size > (state.chosen.has(NO_OBJECTS) ? 1 : 0);

function kept(image) {
  if (!image.objects.length) return state.chosen.has(NO_OBJECTS) || (!state.chosen.size && !state.least);
  if (state.chosen.has(NO_OBJECTS) && !classesChosen()) return false;
  return image.matching.length > 0 || (!state.chosen.size && !state.least);
}

// Outlines

function overlay(image) {
  const [w, h] = image.thumbnail;
  return vector("svg", { class: "masks", viewBox: `0 0 ${w * UNIT} ${h * UNIT}`, "aria-hidden": "true" });
}

function outlines(svg, objects) {
  const large = [...objects].filter((o) => o.path).sort((a, b) => b.area - a.area);
  svg.replaceChildren(
    ...large.map((o) => {
      const ink = data.classes[o.k].colour;
      const over = vector("path", { class: "over", d: o.path, fill: ink, stroke: ink });
      const group = vector("g", { "data-number": o.number }, vector("path", { class: "under", d: o.path }), over);
      return group;
    }),
  );
  svg.classList.toggle("off", !state.masks);
}

// Thumbnails

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const image = images[Number(entry.target.dataset.at)];
      image.near = entry.isIntersecting;
      if (image.near) outlines(image.svg, image.matching);
      else image.svg.replaceChildren();
    }
  },
  { rootMargin: "600px" },
);

function tile(image) {
  if (image.tile) return image.tile;
  const [w, h] = image.thumbnail;
  const shape = Math.min(Math.max(w / h, 0.45), 2.6);
  image.svg = overlay(image);
  image.chips = el("div", { className: "chips" });
  const picture = el("img", { loading: "lazy", decoding: "async", width: w, height: h, alt: "", src: image.file });
  const view = el("button", { type: "button", className: "view", "aria-label": `Open ${image.id}` }, picture, image.svg);
  if (image.gone) view.append(el("span", { className: "gone" }, "image not found"));
  view.addEventListener("click", () => enlarge(image));
  const caption = el("div", { className: "caption" }, el("p", { title: image.id }, image.id), image.chips);
  image.tile = el("li", {}, view, caption);
  image.tile.dataset.at = image.at;
  image.tile.style.setProperty("--shape", shape.toFixed(3));
  seen.observe(image.tile);
  return image.tile;
}

function count(objects) {
  const found = new Map();
  for (const o of objects) found.set(o.k, (found.get(o.k) || 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

function label(image) {
  const counts = count(image.matching);
  const chips = counts.slice(0, 6).map(([k, n]) => {
    return el("span", {}, swatch(k), el("b", {}, n > 1 ? `${named(k)} × ${n}` : named(k)));
  });
  if (counts.length > 6) chips.push(el("span", {}, `and ${counts.length - 6} more`));
  if (!image.objects.length) chips.push(el("span", {}, "no objects"));
  image.chips.replaceChildren(...chips);
}

function refresh() {
  for (const image of images) image.matching = image.objects.filter(matches);
  shown = images.filter(kept).sort(order[state.sort]);
  for (const image of shown) {
    tile(image);
    label(image);
    if (image.near) outlines(image.svg, image.matching);
  }
  $("grid").replaceChildren(...shown.map((image) => image.tile), el("li", { className: "rest", role: "presentation" }));
  for (const row of rows) {
    row.tr.classList.toggle("chosen", state.chosen.has(row.k));
    row.button.setAttribute("aria-pressed", String(state.chosen.has(row.k)));
    row.bars.forEach((bar, k) => bar.classList.toggle("below", (k + 1) / row.bars.length <= state.least + 1e-9));
  }
  $("clear").hidden = !state.chosen.size && !state.least;
  $("leastOut").textContent = state.least.toFixed(2);
  describe();
}

function describe() {
  const objects = shown.reduce((sum, image) => sum + image.matching.length, 0);
  const all = images.length < data.images - data.failed;
  const of = all ? `a sample of ${whole(images.length)} of ${several(data.images - data.failed, "image", "images")}`
    : several(images.length, "image", "images");
  const what = shown.length === images.length ? `${of[0].toUpperCase()}${of.slice(1)}`
    : `${whole(shown.length)} of ${of}`;
  $("status").textContent = images.length ? `${what}, ${several(objects, "object", "objects")}` : "";
  $("nothing").hidden = shown.length > 0;
  $("nothing").textContent = images.length ? "No image here has such objects." : "There are no images to show.";
}

let waiting = 0;
function later() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(refresh);
}

// Classes

function histogram(bins) {
  const high = Math.max(1, ...bins);
  const bars = bins.map((n, k) => {
    const h = n ? Math.max(1.5, (n / high) * 21) : 0;
    return vector("rect", { x: k * 4 + 0.4, y: 21 - h, width: 3.2, height: h });
  });
  const base = vector("rect", { class: "floor", x: 0, y: 21, width: bins.length * 4, height: 1 });
  return [vector("svg", { class: "bins", viewBox: `0 0 ${bins.length * 4} 22`, "aria-hidden": "true" }, base, ...bars), bars];
}

function classRow(k) {
  const known = k === NO_OBJECTS ? { objects: "", images: data.empty } : data.classes[k];
  const name = k === NO_OBJECTS ? "no objects" : named(k);
  const button = el("button", { type: "button", title: name }, swatch(k), el("span", {}, name));
  const [drawing, bars] = k === NO_OBJECTS ? ["", []] : histogram(known.histogram);
  const objects = k === NO_OBJECTS ? "" : whole(known.objects);
  const mean = k === NO_OBJECTS ? "" : known.mean.toFixed(2);
  const head = el("th", { scope: "row" }, button);
  const cells = [objects, whole(known.images), mean, drawing].map((value) => el("td", {}, value));
  const tr = el("tr", {}, head, ...cells);
  tr.addEventListener("click", () => {
    if (!state.chosen.delete(k)) state.chosen.add(k);
    refresh();
  });
  return { k, tr, button, bars, name: name.toLowerCase() };
}

const rows = data.classes.map((_, k) => classRow(k));
if (data.empty) rows.push(classRow(NO_OBJECTS));
$("classes").tBodies[0].append(...rows.map((row) => row.tr));
$("side").hidden = !rows.length;
document.querySelector(".bar").hidden = !rows.length;
document.querySelector(".columns").classList.toggle("one", !rows.length);
$("more").hidden = !data.moreClasses;
$("more").textContent = `and ${several(data.moreClasses, "class", "classes")} with fewer objects`;
$("find").hidden = rows.length < 12;
$("find").addEventListener("input", () => {
  const words = $("find").value.trim().toLowerCase();
  for (const row of rows) row.tr.hidden = !row.name.includes(words);
});
if (matchMedia("(max-width: 900px)").matches) $("side").open = false;

// The bar

$("least").addEventListener("input", () => {
  state.least = Number($("least").value);
  later();
});
$("sort").addEventListener("change", () => {
  state.sort = $("sort").value;
  refresh();
});
$("masks").addEventListener("change", () => {
  state.masks = $("masks").checked;
  for (const svg of document.querySelectorAll("svg.masks")) svg.classList.toggle("off", !state.masks);
});
$("clear").addEventListener("click", () => {
  state.chosen.clear();
  state.least = 0;
  $("least").value = "0";
  refresh();
  $("least").focus();
});

// One image

let current = null;
function enlarge(image) {
  current = image;
  const place = shown.indexOf(image);
  const svg = overlay(image);
  const [w, h] = image.size;
  outlines(svg, image.objects.filter((o) => o.score >= state.least));
  const groups = new Map([...svg.children].map((group) => [Number(group.dataset.number), group]));
  const items = image.objects.map((o) => {
    const share = (100 * o.area) / (w * h);
    const size = `${several(o.area, "pixel", "pixels")}, ${share >= 0.1 ? share.toFixed(1) : "< 0.1"} %`;
    const button = el("button", { type: "button" }, swatch(o.k), el("b", {}, named(o.k)),
      el("i", {}, o.score.toFixed(2)), el("small", {}, size));
    return el("li", { className: matches(o) ? "" : "faint" }, button);
  });
  const light = (number) => {
    const on = groups.get(number);
    svg.classList.toggle("lit", Boolean(on));
    for (const [k, group] of groups) group.classList.toggle("on", k === number);
    items.forEach((item, k) => item.classList.toggle("on", k === number));
  };
  items.forEach((item, k) => {
    item.addEventListener("pointerenter", () => light(k));
    item.addEventListener("pointerleave", () => light(-1));
    item.addEventListener("focusin", () => light(k));
    item.addEventListener("focusout", () => light(-1));
  });
  for (const [k, group] of groups) {
    group.addEventListener("pointerenter", () => light(k));
    group.addEventListener("pointerleave", () => light(-1));
  }
  const picture = el("img", { alt: `Image ${image.id}`, src: image.file });
  $("stage").replaceChildren(picture, svg);
  if (image.gone) $("stage").append(el("span", { className: "gone" }, "image not found"));
  $("objects").replaceChildren(...items);
  $("largeTitle").textContent = image.id;
  $("largeTitle").title = image.id;
  $("place").textContent = `${whole(place + 1)} of ${whole(shown.length)}`;
  const more = image.count > image.objects.length ? `, of which ${image.objects.length} are shown` : "";
  $("facts").textContent = `${w} × ${h} pixels, ${several(image.count, "object", "objects")}${more}`;
  $("before").disabled = place <= 0;
  $("after").disabled = place + 1 >= shown.length;
  if (!$("large").open) $("large").showModal();
}

function step(by) {
  const next = shown[shown.indexOf(current) + by];
  if (next) enlarge(next);
}
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => $("large").close());
$("large").addEventListener("click", (event) => {
  if (event.target === $("large")) $("large").close();
});
$("large").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
});
$("large").addEventListener("close", () => {
  const view = current.tile && current.tile.isConnected ? current.tile.firstElementChild : null;
  if (view) view.focus({ preventScroll: false });
});

// Totals, errors

function folderName() {
  const part = location.pathname.split("/").filter(Boolean).slice(0, -1).pop() || "";
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a name in bytes that are no UTF-8
  }
}
const folder = folderName();
if (folder) {
  $("title").textContent = folder;
  document.title = `${folder} · gsam label`;
}
const totals = [["images", whole(data.images)], ["objects", whole(data.objects)], ["classes", whole(data.classes.length + data.moreClasses)]];
if (data.failed) totals.push(["failed", whole(data.failed)]);
if (data.pipeline) totals.push(["pipeline", data.pipeline]);
$("totals").append(...totals.map(([name, value]) =>
  el("div", {}, el("dt", {}, name), el("dd", name === "pipeline" ? { className: "words" } : {}, value))));
$("sheet").hidden = !data.sheet;
if (data.sheet) $("sheet").href = data.sheet;
$("failed").hidden = !data.failed;
$("failedTitle").textContent = several(data.failed, "image without a result", "images without a result");
$("errors").tBodies[0].append(...data.errors.map(([id, code, message]) =>
  el("tr", {}, el("td", {}, id), el("td", {}, message), el("td", {}, code))));
$("failedMore").hidden = data.failed <= data.errors.length;
$("failedMore").textContent = `The first ${data.errors.length} are listed.`;

refresh();
