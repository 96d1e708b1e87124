"use strict";
// Nothing here is needed: it says under the pointer what the pictures show.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);

// Browsers show a title late and in small print; the tip takes its place.
for (const title of document.querySelectorAll(".plot title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}

function seconds(s) {
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 10) return +s.toFixed(1) + " s";
  const whole = Math.round(s);
  if (whole < 60) return whole + " s";
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const first = parts.findIndex(([size]) => whole >= size);
  const named = [];
  let rest = whole;
  for (const [size, name] of parts.slice(first, first + (first === 1 ? 3 : 2))) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) named.push(count + " " + name);
  }
  return named.join(" ");
}

function show(event) {
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 16 + width > innerWidth ? event.clientX - 12 - width : event.clientX + 16;
  const top = event.clientY + 16 + height > innerHeight ? event.clientY - 12 - height : event.clientY + 16;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(4, top) + "px";
}

// --- moment by moment ---

const rows = new Map();     // pane -> its columns
function columns(pane) {
  if (!rows.has(pane)) rows.set(pane, JSON.parse(pane.querySelector("script").textContent));
  return rows.get(pane);
}
let hair = null;
function moment(event, plot) {
  const { left, right, from, to } = plot.dataset;
  const box = plot.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
  if (x < +left || x > +right) return false;
  const at = +from + (x - left) / (right - left) * (to - from);
  const c = columns(plot.closest(".pane"));
  let low = 0, high = c.at.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (c.at[middle] <= at) low = middle; else high = middle - 1;
  }
  const list = document.createElement("dl");
  const entry = (word, value) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = word;
    dd.textContent = value;
    list.append(dt, dd);
  };
  entry("at", seconds(c.at[low]));
  entry("arrivals per second", c.rate[Math.min(low + 1, c.rate.length - 1)]);
  entry("waiting", c.waiting[low].toLocaleString("en"));
  entry("oldest", seconds(c.oldest[low]));
  entry("wanted", c.wanted[low] === null ? "\u2013" : c.wanted[low]);
  entry("asked for", c.asked[low]);
  entry("ready", c.ready[low]);
  entry("busy", c.busy[low]);
  tip.replaceChildren(list);
  if (!hair || hair.ownerSVGElement !== plot) {
    if (hair) hair.remove();
    hair = document.createElementNS(plot.namespaceURI, "path");
    hair.setAttribute("class", "hair");
    plot.append(hair);
  }
  hair.setAttribute("d", "M" + Math.round(x) + " 72V" + (plot.viewBox.baseVal.height - 88));
  return true;
}

document.addEventListener("pointermove", (event) => {
  const told = event.target.closest("[data-tip]");
  const plot = event.target.closest(".plot[data-from]");
  let any = false;
  if (told) {
    tip.textContent = told.dataset.tip;
    any = true;
  } else if (plot) {
    any = moment(event, plot);
  }
  if (any) show(event); else tip.hidden = true;
  if (hair && (told || !any)) { hair.remove(); hair = null; }
});
document.addEventListener("pointerleave", () => { tip.hidden = true; });
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

// --- one policy among all ---

let pinned = null;
function light(policy) {
  for (const node of document.querySelectorAll(".on")) node.classList.remove("on");
  document.body.classList.toggle("hot", policy !== null);
  if (policy === null) return;
  for (const node of document.querySelectorAll(".plot .p" + policy + ", .legend [data-policy='" + policy + "']")) node.classList.add("on");
}
for (const node of document.querySelectorAll("[data-policy]")) {
  const policy = node.dataset.policy;
  node.addEventListener("pointerenter", () => light(policy));
  node.addEventListener("pointerleave", () => light(pinned));
  if (node.closest(".legend")) {
    node.style.cursor = "pointer";
    node.title = "Click to keep it in front";
    node.addEventListener("click", () => { pinned = pinned === policy ? null : policy; light(pinned); });
  }
}

// --- the command ---

for (const code of document.querySelectorAll(".command")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.after(button);
}
