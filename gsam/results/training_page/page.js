// The page is whole without this script; it sorts, finds, and reads curves.

const table = document.querySelector(".classes");
const MISSING = -Infinity;

function sortBy(head, column) {
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of table.tHead.rows[1].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const names = column === 0;
  const rows = [...table.tBodies[0].rows].map((row, at) => {
    const given = row.cells[column].dataset.value;
    return { row, at, value: names ? row.cells[0].textContent : given === "" ? MISSING : Number(given) };
  });
  rows.sort((a, b) => {
    if (names) return a.value.localeCompare(b.value, undefined, { numeric: true }) * (down ? 1 : -1);
    if (a.value === MISSING || b.value === MISSING) return (a.value === MISSING) - (b.value === MISSING) || a.at - b.at;
    return (b.value - a.value) * (down ? 1 : -1) || a.at - b.at;
  });
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

function choose(measure) {
  for (const cell of table.querySelectorAll("[data-measure]")) {
    cell.hidden = measure !== "" && cell.dataset.measure !== measure;
  }
}

if (table) {
  const [groups, heads] = table.tHead.rows;
  [...heads.cells].forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => sortBy(head, column));
  });
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.cells[0].textContent.toLowerCase()]);
  $("find").hidden = rows.length < 12;
  $("find").addEventListener("input", () => {
    const words = $("find").value.trim().toLowerCase();
    for (const [row, name] of rows) row.hidden = !name.includes(words);
  });
  const measures = [...groups.cells].filter((cell) => cell.dataset.measure);
  $("pick").hidden = measures.length < 2;
  $("measure").append(el("option", { value: "" }, "all"));
  $("measure").append(...measures.map((cell) => el("option", { value: cell.dataset.measure }, cell.textContent)));
  if (measures.length > 1 && matchMedia("(max-width: 700px)").matches) $("measure").value = measures[0].dataset.measure;
  $("measure").addEventListener("change", () => choose($("measure").value));
  choose($("measure").value);
}

function readable(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

for (const svg of document.querySelectorAll(".plot svg")) {
  const [start, end, low, high] = svg.dataset.range.split(" ").map(Number);
  const { width, height } = svg.viewBox.baseVal;
  const names = JSON.parse(svg.dataset.names);
  const lines = [...svg.querySelectorAll("polyline:not(.faint)")].map((line) => [...line.points]);
  const ruler = vector("path", { class: "ruler" });
  const reading = el("output", { className: "reading", hidden: true });
  svg.closest("figure").append(reading);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    const near = lines.map((points) => points.reduce((a, b) => (Math.abs(b.x - at) < Math.abs(a.x - at) ? b : a)));
    const step = Math.round(start + (near[0].x / width) * (end - start));
    const values = near.map((point, k) => `${names[k]} ${readable(high - (point.y / height) * (high - low))}`);
    ruler.setAttribute("d", `M${near[0].x} 0V${height}`);
    svg.append(ruler);
    reading.textContent = [`step ${step.toLocaleString("en")}`, ...values].join("\n");
    reading.hidden = false;
  });
  svg.addEventListener("pointerleave", () => {
    ruler.remove();
    reading.hidden = true;
  });
}
