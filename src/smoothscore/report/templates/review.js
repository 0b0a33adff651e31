"use strict";
for (const review of document.querySelectorAll(".review")) {
  const list = review.querySelector("ol");
  const items = [...list.children].map((element, place) => ({
    element, place, name: element.dataset.name,
    numbers: JSON.parse(element.dataset.numbers), tags: element.dataset.tags.split("|"),
  }));
  const find = (role) => review.querySelector(`[data-role="${role}"]`);
  const status = find("status");
  const answer = (item) => item.element.querySelector("input:checked")?.value ?? "";
  const show = () => {
    const tag = find("tag").value, mark = find("mark").value;
    let shown = 0;
    for (const item of items) {
      const fits = (!tag || item.tags.includes(tag)) && (!mark || (answer(item) || "unmarked") === mark);
      item.element.hidden = !fits;
      shown += fits;
    }
    const marked = items.filter(answer).length;
    status.textContent = `${shown} of ${items.length} shown, ${marked} marked`;
  };
  const sort = () => {
    const [name, sign] = JSON.parse(find("order").value);
    const value = (item) => (name === null ? item.place : item.numbers[name] * sign);
    list.append(...[...items].sort((a, b) => value(a) - value(b) || a.place - b.place).map((item) => item.element));
  };
  find("order").addEventListener("change", sort);
  find("tag").addEventListener("change", show);
  find("mark").addEventListener("change", show);
  list.addEventListener("change", () => {
    if (!find("mark").value) show();
    else status.textContent = `${items.filter(answer).length} marked`;
  });
  find("export").addEventListener("click", () => {
    const marks = Object.fromEntries(items.filter(answer).map((item) => [item.name, answer(item)]));
    const text = JSON.stringify({ ...JSON.parse(review.dataset.about), marks }, null, 2);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "marks.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  list.addEventListener("keydown", (event) => {
    const step = { j: 1, k: -1 }[event.key];
    const here = event.target.closest("li");
    if (!step || !here || event.ctrlKey || event.metaKey || event.altKey) return;
    const visible = [...list.children].filter((element) => !element.hidden);
    visible[visible.indexOf(here) + step]?.querySelector("input").focus();
  });
  review.querySelector(".controls").hidden = false;
  show();
}
