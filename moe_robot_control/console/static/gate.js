// The gate's weights: a bar for each expert, and what they were over the last seconds.

const SPAN = 30; // s

export class Gate {
  #rows = new Map();
  #history = []; // {at [s], weights}
  #drawn = 0;

  constructor(list, canvas) {
    this.list = list;
    this.canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
  }

  setExperts(experts) {
    if (this.#rows.size === experts.length) return;
    this.list.replaceChildren(
      ...experts.map((name, i) => {
        const row = document.createElement("li");
        row.style.setProperty("--colour", `var(--skill-${i % 7})`);
        const part = (kind, text, element = "span") => {
          const made = document.createElement(element);
          made.className = kind;
          made.textContent = text;
          row.append(made);
          return made;
        };
        part("number", i + 1);
        part("name", name.replaceAll("_", " "));
        const fill = document.createElement("i");
        part("bar", "", "div").append(fill);
        fill.style.transform = "scaleX(0)";
        this.#rows.set(name, { row, fill, value: part("value", "–") });
        return row;
      }),
    );
  }

  update(weights, now) {
    for (const [name, { row, fill, value }] of this.#rows) {
      const weight = weights[name];
      fill.style.transform = `scaleX(${weight ?? 0})`;
      value.textContent = weight == null ? "–" : weight.toFixed(2);
      row.classList.toggle("acts", weight > 0);
    }
    const last = this.#history.at(-1);
    if (last && now < last.at) this.#history = []; // another server's clock
    this.#history.push({ at: now, weights });
    while (this.#history[0].at < now - SPAN) this.#history.shift();
    if (now < this.#drawn || now - this.#drawn > 0.1) this.#draw();
  }

  #draw() {
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !this.#history.length) return;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const now = (this.#drawn = this.#history.at(-1).at);
    const x = (at) => Math.round(width * (1 - (now - at) / SPAN));
    const colours = [...this.#rows.values()].map(({ fill }) => getComputedStyle(fill).backgroundColor);
    const names = [...this.#rows.keys()];
    this.#history.forEach((item, i) => {
      const left = i ? x(this.#history[i - 1].at) : x(item.at) - 1;
      let below = height;
      names.forEach((name, k) => {
        const size = height * (item.weights[name] ?? 0);
        context.fillStyle = colours[k];
        if (size > 0) context.fillRect(left, below - size, Math.max(x(item.at) - left, 1), size);
        below -= size;
      });
    });
  }
}
