const NS = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const BOX_W = 148, BOX_H = 36, MARGIN = 16, CAPTION = 22, BATCH = 100, HITS = 200, SMALLEST = 0.74;
const SIGNS = [["+", "added"], ["-", "removed"], ["~", "changed"], [">", "renamed"]];
const SIGN_OF = { added: "+", removed: "-", changed: "~", renamed: ">", same: " " };
const KINDS = ["data", "control", "clone"];
let data, view, shown = [], made = 0, here = -1, scope = "", sight, where = new Map(), whole = false;

function make(tag, attrs, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attrs || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
function draw(tag, attrs, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attrs || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

async function read() {
  const holder = byId("data");
  if (holder.type === "application/json") return JSON.parse(holder.textContent);
  const bytes = Uint8Array.from(atob(holder.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/* Counts as coloured signs. */
function signs(counts) {
  const found = make("span", { class: "count" });
  SIGNS.forEach(([sign, status], place) => {
    if (counts[place]) found.append(make("span", { class: status }, sign + counts[place]), " ");
  });
  return found;
}

/* The scope tree: rows in order, each under the last one whose path it continues. */
function buildTree() {
  const tree = byId("tree");
  tree.textContent = "";
  const root = { path: "", label: "all changes", counts: [0, 0, 0, 0], kids: [] };
  const open = [root];
  for (const [path, ...counts] of view.scopes) {
    if (path === "") { root.counts = counts; continue; }
    while (open.length > 1 && !path.startsWith(open[open.length - 1].path + "/")) open.pop();
    const parent = open[open.length - 1];
    const label = parent.path ? path.slice(parent.path.length + 1) : path;
    const item = { path, label, counts, kids: [] };
    parent.kids.push(item);
    open.push(item);
  }
  const top = branch(root);
  tree.append(top);
  top.firstChild.tabIndex = 0;
  unfold(top, root, true);
  if (root.kids.length === 1) top.lastChild.querySelector(".twist").click();
}
function branch(item) {
  while (item.kids.length === 1 && String(item.kids[0].counts) === String(item.counts) && item.path)
    item = { ...item.kids[0], label: item.label + "/" + item.kids[0].label };
  const twist = make("span", { class: "twist" }, item.kids.length ? "▸" : "");
  const row = make("div", { class: "row", role: "treeitem", tabindex: "-1", "aria-selected": "false" },
    twist, make("span", { class: "name" }, item.label), signs(item.counts));
  if (item.kids.length) row.setAttribute("aria-expanded", "false");
  const holder = make("div", {}, row);
  twist.addEventListener("click", (event) => { event.stopPropagation(); unfold(holder, item); });
  row.addEventListener("click", () => { choose(item.path, row); unfold(holder, item, true); });
  row.addEventListener("keydown", (event) => treeKey(event, holder, item, row));
  return holder;
}
function unfold(holder, item, force) {
  const row = holder.firstChild, closed = !holder.lastChild.classList.contains("kids");
  if (!item.kids.length || (force && !closed)) return;
  if (closed) holder.append(make("div", { class: "kids", role: "group" }, ...item.kids.map(branch)));
  else holder.lastChild.remove();
  row.setAttribute("aria-expanded", String(closed));
  row.firstChild.textContent = closed ? "▾" : "▸";
}
function treeKey(event, holder, item, row) {
  const rows = [...byId("tree").querySelectorAll(".row")], at = rows.indexOf(row);
  const open = row.getAttribute("aria-expanded");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && rows[at + step]) rows[at + step].focus();
  else if (event.key === "ArrowRight" && open === "false") unfold(holder, item);
  else if (event.key === "ArrowLeft" && open === "true") unfold(holder, item);
  else if (event.key === "Enter" || event.key === " ") row.click();
  else return;
  event.preventDefault();
}
function choose(path, row) {
  for (const old of byId("tree").querySelectorAll("[aria-selected=true]")) old.setAttribute("aria-selected", "false");
  if (row) row.setAttribute("aria-selected", "true");
  scope = path;
  list();
}

/* The hunks of the view and scope; articles are made in batches, drawn when they come into sight. */
function inScope(hunk) {
  return !scope || hunk.n.some((box) => box[2] !== "same" && box[0].startsWith(scope + "/"));
}
function list() {
  shown = [];
  for (let i = view.hunks[0]; i < view.hunks[1]; i++) if (inScope(data.hunks[i])) shown.push(i);
  byId("hunks").textContent = "";
  made = 0;
  here = -1;
  byId("scope").textContent = (scope ? scope + ": " : "") + shown.length + (shown.length === 1 ? " hunk" : " hunks");
  more();
}
function more() {
  const old = byId("more");
  if (old) { sight.unobserve(old); old.remove(); }
  for (const end = Math.min(made + BATCH, shown.length); made < end; made++) byId("hunks").append(article(shown[made]));
  if (made < shown.length) {
    const rest = make("div", { id: "more" }, `${shown.length - made} more hunks`);
    byId("hunks").append(rest);
    sight.observe(rest);
  }
}
function article(number) {
  const hunk = data.hunks[number];
  const body = make("div", { class: "panes" });
  const save = make("button", { type: "button" }, "SVG");
  const text = make("button", { type: "button" }, "text");
  const counts = make("span", { class: "count" }, hunk.c);
  const title = make("h3", {}, make("span", {}, hunk.t), counts, make("span", { class: "grow" }), text, save);
  const found = make("article", { class: "hunk", "data-hunk": number, tabindex: "-1" }, title, body);
  body.style.minHeight = `${size(hunk)[1]}px`;
  save.addEventListener("click", () => exportSvg(number));
  text.addEventListener("click", () => toggleText(found, hunk));
  sight.observe(found);
  return found;
}
function size(hunk) { return [hunk.w + 2 * MARGIN, hunk.h + 2 * MARGIN + CAPTION]; }
function fill(found) {
  const body = found.querySelector(".panes");
  if (body.firstChild) return;
  const hunk = data.hunks[found.dataset.hunk], [width, height] = size(hunk);
  const room = body.clientWidth / 2 - 2 || 600;
  const scale = Math.max(Math.min(1, room / width), whole ? 0 : SMALLEST);
  const panes = [1, 2].map((side) => {
    const svg = draw("svg", { class: "gd", viewBox: `0 0 ${width} ${height}`, width: width * scale, height: height * scale,
      role: "img", "aria-label": side === 1 ? "before" : "after" }, pane(hunk, side, false));
    return make("div", { class: "pane" }, make("div", { class: "side" }, side === 1 ? "before" : "after"), svg);
  });
  body.style.minHeight = "";
  body.append(...panes);
  const busy = hunk.n.filter((box) => box[2] !== "same").map((box) => box[5]);
  const middle = ((Math.min(...busy) + Math.max(...busy) + BOX_W) / 2 + MARGIN) * scale;
  panes[1].scrollLeft = panes[0].scrollLeft = middle - panes[0].clientWidth / 2;
  panes.forEach((one, i) => one.addEventListener("scroll", () => { panes[1 - i].scrollLeft = one.scrollLeft; }));
}
/* All of a hunk in its pane, or large enough to read. */
function resize() {
  whole = !whole;
  byId("fit").setAttribute("aria-pressed", String(whole));
  for (const found of document.querySelectorAll(".hunk")) {
    const body = found.querySelector(".panes");
    if (body.firstChild) { body.textContent = ""; fill(found); }
  }
}
function pane(hunk, side, titled = true) {
  const sheet = draw("g", { transform: `translate(${MARGIN} ${MARGIN + CAPTION})` });
  if (titled) sheet.append(draw("text", { class: "cap title", x: 0, y: -24 }, side === 1 ? "before" : "after"));
  if (hunk.m !== null) {
    sheet.append(draw("line", { class: "border", x1: hunk.m, x2: hunk.m, y1: -14, y2: hunk.h }));
    sheet.append(draw("text", { class: "cap", x: hunk.m - 6, y: -8, "text-anchor": "end" }, "forward"));
    sheet.append(draw("text", { class: "cap", x: hunk.m + 6, y: -8 }, "backward"));
  }
  for (const [from, to, kind, sides, path] of hunk.e) {
    if (!(sides & side)) continue;
    const novelty = kind || sides === 3 ? "" : sides === 1 ? " old" : " new";
    const attrs = { class: `e ${KINDS[kind]}${novelty}`, "data-a": from, "data-b": to, d: path };
    if (kind !== 2) attrs["marker-end"] = "url(#tip)";
    sheet.append(draw("path", attrs));
  }
  hunk.n.forEach((box, number) => { if (box[3] & side) sheet.append(node(box, number)); });
  return sheet;
}
function node(box, number) {
  const [name, op, status, , backward, x, y] = box;
  const tail = name.length > 20 ? "…" + name.slice(-19) : name;
  return draw("g", { class: `n ${status}${backward ? " bwd" : ""}`, "data-n": number, tabindex: 0, role: "button",
    "aria-label": `${status} ${op} ${name}`, transform: `translate(${x} ${y})` },
    draw("rect", { class: "body", width: BOX_W, height: BOX_H, rx: 5 }),
    draw("text", { class: "op", x: 8, y: 15 }, op.slice(0, 20)),
    draw("text", { class: "sub", x: 8, y: 29 }, tail), draw("title", {}, name));
}
function tip() {
  return draw("defs", {}, draw("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7,
    orient: "auto" }, draw("path", { d: "M0 0L8 4L0 8z" })));
}
function toggleText(found, hunk) {
  const old = found.querySelector("pre");
  if (old) { old.remove(); return; }
  const lines = hunk.n.flatMap((box) => {
    const own = make("div", { class: box[2] }, `${SIGN_OF[box[2]]} ${box[7]}`);
    return [own, ...(box[8] || []).map((field) => make("div", {}, `      ${fieldText(field)}`))];
  });
  found.append(make("pre", {}, ...lines));
}
function fieldText([field, before, after, tensor]) {
  return `${field}: ${before ?? "nothing"} -> ${after ?? "nothing"}${tensor ? "; " + tensor : ""}`;
}
function exportSvg(number) {
  const hunk = data.hunks[number], [width, height] = size(hunk), full = 2 * width + 24;
  const style = draw("style", {}, SVG_STYLE);
  const svg = draw("svg", { class: "gd", width: full, height: height + 24, viewBox: `0 0 ${full} ${height + 24}` }, style, tip(),
    draw("rect", { class: "sheet", width: "100%", height: "100%" }), draw("text", { class: "title", x: 8, y: 16 }, hunk.t),
    draw("g", { transform: "translate(0 24)" }, pane(hunk, 1)), draw("g", { transform: `translate(${width + 24} 24)` }, pane(hunk, 2)));
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
  const link = make("a", { href: url, download: `hunk-${number + 1}.svg` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 5000);
}

/* Hover lights a node, its copies or original and its edges on both sides; a click tells all. */
function light(event, on) {
  const target = event.target.closest && event.target.closest(".pane .n");
  if (!target) return;
  const found = target.closest(".hunk"), number = target.dataset.n;
  const hunk = data.hunks[found.dataset.hunk], lit = new Set([number]);
  for (const [from, to, kind] of hunk.e) {
    if (kind === 2 && (String(from) === number || String(to) === number)) { lit.add(String(from)); lit.add(String(to)); }
  }
  for (const box of found.querySelectorAll(".n")) if (lit.has(box.dataset.n)) box.classList.toggle("hot", on);
  for (const path of found.querySelectorAll("path.e"))
    if (path.dataset.a === number || path.dataset.b === number) path.classList.toggle("hot", on);
}
function tell(number, place) {
  const hunk = data.hunks[number], box = hunk.n[place];
  const [name, op, status, , backward, , , line, fields, why, origin, old] = box;
  const rows = [["op", op], ["status", status === "same" ? "unchanged" : status], ["direction", backward ? "backward" : "forward"]], ties = [];
  if (old) rows.push(["was", old]);
  if (origin) rows.push(["copy of", origin]);
  for (const cause of why || []) rows.push(["why", cause]);
  for (const [from, to, kind, sides] of hunk.e) {
    const label = ["reads", "waits for", ""][kind];
    const since = ["", " (before)", " (after)", ""][sides];
    if (to === place && label) ties.push([label + since, hunk.n[from][0]]);
    if (from === place && kind === 1) ties.push(["triggers", hunk.n[to][0]]);
    if (from === place && kind === 2) ties.push(["copied as", hunk.n[to][0]]);
  }
  const parts = [make("h2", {}, name), table(rows)];
  if (fields && fields.length) parts.push(make("h3", {}, "What differs"), table(fields.map((f) => [f[0], fieldText(f).slice(f[0].length + 2)])));
  if (ties.length) parts.push(make("h3", {}, "Tied to"), table(ties));
  parts.push(make("h3", {}, "In the notation"), make("pre", {}, line));
  panel(parts);
  for (const one of document.querySelectorAll(".n.on")) one.classList.remove("on");
  for (const one of document.querySelectorAll(`[data-hunk="${number}"] [data-n="${place}"]`)) one.classList.add("on");
}
function table(rows) {
  return make("table", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))));
}
function panel(parts) {
  const close = make("button", { class: "close", type: "button" }, "close");
  close.addEventListener("click", hide);
  byId("detail").replaceChildren(close, ...parts);
  byId("detail").hidden = false;
}
function hide() { byId("detail").hidden = true; byId("found").hidden = true; }

/* Search: a substring, op:Op, or /regex/. */
function matcher(query) {
  if (query.startsWith("/") && query.length > 1) {
    const regex = new RegExp(query.replace(/^\/|\/$/g, ""));
    return (place) => regex.test(data.names[place]);
  }
  const low = query.toLowerCase();
  if (low.startsWith("op:")) {
    const wanted = low.slice(3), ops = data.ops.map((op) => op.toLowerCase().includes(wanted));
    return (place) => ops[data.op[place]];
  }
  return (place) => data.names[place].toLowerCase().includes(low);
}
function search() {
  const query = byId("query").value.trim(), found = byId("found");
  found.textContent = "";
  found.hidden = !query;
  if (!query) return;
  let matches, count = 0;
  try { matches = matcher(query); } catch { found.append(make("li", {}, "not a regular expression")); return; }
  const first = [], rest = [];
  for (let place = 0; place < data.names.length; place++) {
    if (!matches(place)) continue;
    count++;
    const spot = where.get(data.names[place]);
    if (spot && spot[2] !== "same") first.push(place);
    else if (rest.length < HITS) rest.push(place);
  }
  found.append(make("li", { class: "op" }, `${count} nodes`));
  for (const place of [...first.slice(0, HITS), ...rest].slice(0, HITS)) {
    const spot = where.get(data.names[place]), status = spot ? spot[2] : "same";
    const item = make("li", { tabindex: 0 }, make("span", { class: status }, data.names[place]), " ",
      make("span", { class: "op" }, data.ops[data.op[place]]));
    item.addEventListener("click", () => go(place));
    item.addEventListener("keydown", (event) => { if (event.key === "Enter") go(place); });
    found.append(item);
  }
}
function go(place) {
  const name = data.names[place], spot = where.get(name);
  byId("found").hidden = true;
  if (!spot) {
    const note = "Nothing near this node differs, so it is not drawn.";
    panel([make("h2", {}, name), table([["op", data.ops[data.op[place]]], ["status", "unchanged"]]), make("p", {}, note)]);
    return;
  }
  if (!shown.includes(spot[0])) choose("", null);
  jump(shown.indexOf(spot[0]));
  tell(spot[0], spot[1]);
}
function index() {
  where = new Map();
  for (let i = view.hunks[0]; i < view.hunks[1]; i++)
    data.hunks[i].n.forEach((box, place) => {
      const old = where.get(box[0]);
      if (!old || (old[2] === "same" && box[2] !== "same")) where.set(box[0], [i, place, box[2]]);
    });
}
function jump(place) {
  if (place < 0 || place >= shown.length) return;
  while (made <= place) more();
  const found = byId("hunks").querySelector(`[data-hunk="${shown[place]}"]`);
  for (const old of document.querySelectorAll(".hunk.here")) old.classList.remove("here");
  found.classList.add("here");
  fill(found);
  found.scrollIntoView({ block: "start" });
  here = place;
}

function see(number) {
  view = data.views[number];
  byId("pass").value = number;
  const text = view.text ? ` · ${view.text}` : "";
  byId("which").textContent = `${view.title}${text} (${view.nodes[0]} → ${view.nodes[1]} nodes)`;
  scope = "";
  index();
  buildTree();
  list();
}
function legend() {
  const names = [["a", "added"], ["r", "removed"], ["c", "changed"], ["f", "forward, unchanged"], ["b", "backward, unchanged"],
    ["t", "trigger (waits for)"], ["k", "copy of"]];
  byId("legend").append(...names.map(([kind, text]) => make("span", { class: kind }, make("i", {}), text)));
}
function theme(kind) {
  document.documentElement.dataset.theme = kind;
}
function keys(event) {
  const typing = event.target.id === "query";
  if (event.key === "Escape") { hide(); event.target.blur(); return; }
  if (typing && event.key === "Enter") { const first = byId("found").children[1]; if (first) first.click(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    j: () => jump(Math.min(here + 1, shown.length - 1)), k: () => jump(Math.max(here - 1, 0)),
    "/": () => byId("query").focus(), "?": () => { byId("hint").hidden = !byId("hint").hidden; },
    d: () => byId("theme").click(), f: resize,
    "[": () => see(Math.max(data.views.indexOf(view) - 1, 0)),
    "]": () => see(Math.min(data.views.indexOf(view) + 1, data.views.length - 1)),
  };
  const target = event.target.closest && event.target.closest(".pane .n");
  if (event.key === "Enter" && target) tell(Number(target.closest(".hunk").dataset.hunk), Number(target.dataset.n));
  else if (actions[event.key]) actions[event.key]();
  else return;
  event.preventDefault();
}

async function start() {
  theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  sight = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      if (target.id === "more") more(); else { fill(target); sight.unobserve(target); }
    }
  }, { rootMargin: "600px" });
  data = await read();
  document.body.append(draw("svg", { width: 0, height: 0, "aria-hidden": "true", class: "gd" }, tip()));
  byId("slot").hidden = data.views.length < 2;
  byId("pass").max = data.views.length - 1;
  legend();
  see(data.views.length - 1);
  let timer;
  byId("query").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 80); });
  byId("pass").addEventListener("input", () => see(Number(byId("pass").value)));
  byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("fit").addEventListener("click", resize);
  byId("keys").addEventListener("click", () => { byId("hint").hidden = !byId("hint").hidden; });
  byId("hunks").addEventListener("mouseover", (event) => light(event, true));
  byId("hunks").addEventListener("mouseout", (event) => light(event, false));
  byId("hunks").addEventListener("click", (event) => {
    const target = event.target.closest(".pane .n");
    if (target) tell(Number(target.closest(".hunk").dataset.hunk), Number(target.dataset.n));
  });
  document.addEventListener("keydown", keys);
  let screen;
  addEventListener("beforeprint", () => {
    [...document.querySelectorAll(".hunk")].slice(0, 60).forEach(fill);
    screen = document.documentElement.dataset.theme;
    theme("light");
    for (const one of document.querySelectorAll("details.refused")) one.open = true;
  });
  addEventListener("afterprint", () => theme(screen));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}
start();
