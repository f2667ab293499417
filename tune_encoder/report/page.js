"use strict";
// Replaces the browser's own tooltips, which appear late and never on a phone.
const tip = document.getElementById("tip");
let lit = [];
for (const mark of document.querySelectorAll(".mark")) {
  const title = mark.querySelector(":scope > title");
  mark.dataset.tip = title.textContent;
  title.remove();
}
function show(event) {
  const mark = event.target.closest(".mark");
  for (const each of lit) each.classList.remove("lit");
  lit = [];
  tip.hidden = !mark;
  document.body.classList.toggle("pointing", Boolean(mark && mark.dataset.trial));
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 12, innerWidth - box.width - 8);
  const below = event.clientY + 16 + box.height < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? event.clientY + 16 : event.clientY - box.height - 12}px`;
  if (mark.dataset.trial) {
    lit = [...document.querySelectorAll(`[data-trial="${mark.dataset.trial}"]`)];
    for (const each of lit) each.classList.add("lit");
  }
}
document.addEventListener("pointerover", show);
document.addEventListener("click", show);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
