// One view for each camera: asks for the next image when the last is drawn, so that a slow
// connection shows fewer images rather than old ones.

const RETRY = 1000; // ms
const OLD = 1000; // ms: an image that nothing followed for so long is said to be old
const AXES = { x: "#ff6b6b", y: "#5fd08b", z: "#7aa8ff" };
const COLOURS = ["#ff5a46", "#ffd746", "#5ae678", "#6e96ff", "#ff78e6", "#5aebff", "#ffa53c", "#ffffff", "#e6e66e", "#ff3c3c", "#96ff96"];

export class View {
  constructor(camera, showsOverlay) {
    this.camera = camera;
    this.showsOverlay = showsOverlay;
    this.element = document.createElement("figure");
    this.element.className = "view";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Camera ${camera}`);
    this.caption = document.createElement("figcaption");
    this.caption.textContent = camera;
    this.note = document.createElement("p");
    this.note.textContent = "waiting for images";
    this.element.append(this.canvas, this.caption, this.note);
    this.shown = 0;
    this.#connect();
    setInterval(() => this.#tellAge(), 500);
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/video`);
    socket.binaryType = "arraybuffer";
    const next = (after) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ camera: this.camera, after }));
    };
    // numbers begin anew with a new server
    socket.onopen = () => next(-1);
    socket.onmessage = async (event) => {
      const size = new DataView(event.data).getUint32(0);
      const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, size)));
      const image = await createImageBitmap(new Blob([new Uint8Array(event.data, 4 + size)], { type: "image/jpeg" }));
      // not while the page is hidden: nobody looks
      requestAnimationFrame(() => {
        this.#draw(image, frame);
        image.close();
        next(frame.number);
      });
    };
    socket.onclose = () => setTimeout(() => this.#connect(), RETRY);
  }

  #tellAge() {
    const age = performance.now() - this.shown;
    const old = !this.shown || age > OLD;
    if (this.shown && old) this.note.textContent = `no new image for ${(age / 1000).toFixed(0)} s`;
    this.note.hidden = !old;
  }

  #draw(image, frame) {
    this.shown = performance.now();
    this.note.hidden = true;
    // the image's pixels are coarse: marks are drawn at the screen's resolution
    const ratio = devicePixelRatio || 1;
    const width = Math.round((this.canvas.clientWidth || frame.width) * ratio);
    const scale = width / frame.width;
    const height = Math.round(frame.height * scale);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.canvas.style.aspectRatio = `${frame.width} / ${frame.height}`;
    }
    const context = this.canvas.getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    const names = Object.keys(frame.marks);
    this.canvas.setAttribute("aria-label", `Camera ${this.camera}` + (names.length ? `, sees ${names.join(", ").replaceAll("_", " ")}` : ""));
    if (!this.showsOverlay()) return;
    const at = ([u, v]) => [(u + 0.5) * scale, (v + 0.5) * scale];
    context.font = `600 ${12 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
    context.lineJoin = "round";
    names.forEach((name) => this.#mark(context, ratio, name, ...at(frame.marks[name])));
    if (frame.tip) {
      for (const [axis, end] of Object.entries(frame.axes)) {
        this.#arrow(context, ratio, axis, at(frame.tip), at(end));
      }
    }
  }

  #mark(context, ratio, name, x, y) {
    const colour = COLOURS[[...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) % COLOURS.length];
    context.lineWidth = 2 * ratio;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(x, y, 7 * ratio, 0, 2 * Math.PI);
    context.stroke();
    const text = name.replaceAll("_", " ");
    const size = context.measureText(text).width + 11 * ratio;
    const left = x + size > this.canvas.width ? x - size : x + 11 * ratio;
    this.#write(context, ratio, text, left, y + 4 * ratio, colour);
  }

  #arrow(context, ratio, axis, from, to) {
    context.lineWidth = 3 * ratio;
    context.strokeStyle = AXES[axis];
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    const beyond = [0, 1].map((i) => to[i] + 0.18 * (to[i] - from[i]));
    this.#write(context, ratio, axis, beyond[0] - 4 * ratio, beyond[1] + 4 * ratio, AXES[axis]);
  }

  #write(context, ratio, text, x, y, colour) {
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "#000c";
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }
}
