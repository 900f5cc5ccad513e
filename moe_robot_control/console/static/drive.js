// Steering: keys, pads under a finger or the mouse, and gamepads. Whatever is used, nothing is
// sent unless its deadman is held, and letting go is told at once.

const PERIOD = 40; // ms
const DEAD_ZONE = 0.12; // of a gamepad's sticks
const KEYS = {
  KeyW: [0, 1], KeyS: [0, -1], ArrowUp: [0, 1], ArrowDown: [0, -1],
  KeyA: [1, 1], KeyD: [1, -1], ArrowLeft: [1, 1], ArrowRight: [1, -1],
  KeyR: [2, 1], KeyF: [2, -1], PageUp: [2, 1], PageDown: [2, -1],
};
// of the standard layout (w3.org/TR/gamepad)
const PAD = { deadman: 5, fine: 6, close: 0, open: 1 };

/** Keys held while the area has the focus; Space is the deadman. */
class Keys {
  #held = new Set();

  constructor(area, actions, stop) {
    area.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
      if (digit && !event.repeat) actions.choose(Number(digit[1]) - 1, event.shiftKey);
      else if (event.code === "KeyG" && !event.repeat) actions.toggleGripper();
      else if (event.code in KEYS || event.code === "Space") this.#held.add(event.code);
      else if (!digit && event.code !== "KeyG") {
        this.fine = event.shiftKey;
        return; // Tab and all other keys keep their meaning
      }
      this.fine = event.shiftKey;
      event.preventDefault();
      actions.changed();
    });
    area.addEventListener("keyup", (event) => {
      this.#held.delete(event.code);
      this.fine = event.shiftKey;
      actions.changed();
    });
    const letGo = () => {
      this.#held.clear();
      stop();
    };
    area.addEventListener("blur", letGo);
    addEventListener("blur", letGo);
    area.addEventListener("pointerdown", () => area.focus());
  }

  read() {
    const axes = [0, 0, 0];
    for (const code of this.#held) if (code in KEYS) axes[KEYS[code][0]] += KEYS[code][1];
    return { held: this.#held.has("Space"), axes: axes.map((a) => Math.max(-1, Math.min(1, a))), fine: this.fine };
  }
}

/** An area whose knob is dragged: `map` makes axes of where it is, -1 to 1 right and up. */
class Pad {
  #at = null;

  constructor(element, map, changed) {
    this.map = map;
    const knob = element.querySelector("i");
    const narrow = element.clientWidth < element.clientHeight;
    const move = (event) => {
      const box = element.getBoundingClientRect();
      const reach = box.height / 2 - 22;
      const limit = (value) => Math.max(-1, Math.min(1, value / reach));
      const right = narrow ? 0 : limit(event.clientX - box.left - box.width / 2);
      const up = limit(box.top + box.height / 2 - event.clientY);
      this.#at = [right, up];
      knob.style.transform = `translate(${right * reach}px, ${-up * reach}px)`;
      changed();
    };
    const end = () => {
      this.#at = null;
      knob.style.transform = "";
      element.classList.remove("held");
      changed();
    };
    element.addEventListener("pointerdown", (event) => {
      if (document.body.classList.contains("watching")) return;
      element.setPointerCapture(event.pointerId);
      element.classList.add("held");
      move(event);
    });
    element.addEventListener("pointermove", (event) => this.#at && move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) element.addEventListener(name, end);
    this.letGo = end;
  }

  read() {
    return { held: this.#at !== null, axes: this.#at ? this.map(...this.#at) : [0, 0, 0], fine: false };
  }
}

/** The first gamepad: left stick x and y, right stick z; the right shoulder is the deadman. */
class Gamepads {
  #pressed = {};

  constructor(actions, note) {
    this.actions = actions;
    this.note = note;
  }

  read() {
    const pad = [...(navigator.getGamepads?.() ?? [])].find((p) => p?.connected && p.mapping === "standard");
    this.note.textContent = pad ? `${pad.id.split("(")[0].trim()}: hold the right shoulder` : "no gamepad";
    if (!pad) return { held: false, axes: [0, 0, 0], fine: false };
    const down = (name) => pad.buttons[PAD[name]]?.pressed ?? false;
    const once = (name) => {
      const before = this.#pressed[name];
      this.#pressed[name] = down(name);
      return this.#pressed[name] && !before;
    };
    if (once("close")) this.actions.setGripper(0);
    if (once("open")) this.actions.setGripper(1);
    const stick = (i) => {
      const value = pad.axes[i] ?? 0;
      const size = Math.max(Math.abs(value) - DEAD_ZONE, 0) / (1 - DEAD_ZONE);
      return -Math.sign(value) * Math.min(size, 1);
    };
    return { held: down("deadman"), axes: [stick(1), stick(0), stick(3)], fine: down("fine") };
  }
}

export class Drive {
  #driving = false;
  #gripper = null; // 0 to 1, what the operator wants; null: as it is
  #chosen = new Set();
  #holding = false;
  #experts = [];
  #operates = false;
  #opening = 0; // 0 to 1, as measured

  constructor(connection, elements, said) {
    this.connection = connection;
    this.elements = elements;
    this.said = said;
    this.touch = matchMedia("(pointer: coarse)");
    const changed = () => this.#tick();
    const actions = {
      changed,
      toggleGripper: () => this.#toggleGripper(),
      setGripper: (share) => this.#setGripper(share),
      choose: (index, add) => this.#choose(this.#experts[index], add),
    };
    const planar = new Pad(elements.pad, (right, up) => [up, -right, 0], changed);
    const lift = new Pad(elements.lift, (_, up) => [0, 0, up], changed);
    this.pads = [planar, lift];
    this.sources = [new Keys(elements.drive, actions, changed), planar, lift, new Gamepads(actions, elements.gamepad)];
    elements.gripper.addEventListener("click", () => this.#toggleGripper());
    const hold = (held) => () => {
      this.#holding = held;
      changed();
    };
    elements.hold.addEventListener("pointerdown", hold(true));
    for (const name of ["pointerup", "pointercancel", "pointerleave", "blur"]) elements.hold.addEventListener(name, hold(false));
    // Space and Enter on the button, for those without a pointer
    elements.hold.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && (event.preventDefault(), hold(true)()));
    elements.hold.addEventListener("keyup", hold(false));
    elements.hold.addEventListener("contextmenu", (event) => event.preventDefault());
    document.addEventListener("visibilitychange", () => document.hidden && this.letGo());
    addEventListener("pagehide", () => this.letGo());
    for (const input of elements.what.querySelectorAll("input")) {
      input.addEventListener("change", () => {
        this.letGo();
        document.body.classList.toggle("by-experts", this.byExperts);
      });
    }
    elements.speed.addEventListener("input", () => this.#showSpeed());
    this.#showSpeed();
    setInterval(changed, PERIOD);
  }

  get byExperts() {
    return this.elements.what.querySelector("input:checked").value === "experts";
  }

  update(state) {
    this.#operates = state.you.operates;
    if (!this.#operates) this.#driving = false;
    this.#opening = state.arm?.opening === undefined || state.arm.opening === null ? 0 : state.arm.opening / state.robot.max_opening;
    this.maxSpeed = state.robot.max_speed;
    if (this.#experts.length !== state.robot.experts.length) this.#setExperts(state.robot.experts);
    this.elements.gripper.textContent = this.#wantsOpen() ? "Close gripper" : "Open gripper";
    this.#showSpeed();
    this.#tell();
  }

  letGo() {
    this.#holding = false;
    for (const pad of this.pads) pad.letGo();
    if (this.#driving) this.connection.send("let_go");
    this.#driving = false;
    this.#tell();
  }

  #tick() {
    const read = this.sources.map((source) => source.read());
    const active = read.find((source) => source.held);
    const byExperts = this.byExperts;
    // a phone's two pads are held together
    const axes = [0, 1, 2].map((i) => read.reduce((sum, s) => sum + (s.held ? s.axes[i] : 0), 0));
    const wants = byExperts ? (active || this.#holding) && this.#chosen.size : active;
    const held = Boolean(this.#operates && this.connection.isOpen && !document.hidden && wants);
    if (held) {
      this.connection.send("drive", {
        ...(byExperts ? { experts: [...this.#chosen] } : { axes: axes.map((a) => Math.max(-1, Math.min(1, a))) }),
        speed: Number(this.elements.speed.value),
        fine: this.elements.fine.checked || Boolean(active?.fine),
        gripper: byExperts ? null : this.#gripper,
        seen: this.connection.seen ?? 0,
      });
    } else if (this.#driving) {
      this.connection.send("let_go");
    }
    if (held !== this.#driving) {
      this.#driving = held;
      this.#tell();
    }
  }

  #tell() {
    const { drive, driveState } = this.elements;
    const text = !this.#operates
      ? "Take control to drive"
      : this.#driving
        ? this.byExperts ? "Experts act" : "Driving"
        : this.touch.matches
          ? this.byExperts ? "Choose experts and hold the button" : "Hold a pad to drive"
          : document.activeElement === drive
            ? "Keys are live: hold Space"
            : "Select this area to drive by keys";
    if (driveState.textContent !== text) driveState.textContent = text;
    drive.classList.toggle("driving", this.#driving);
  }

  #showSpeed() {
    const share = Number(this.elements.speed.value);
    this.elements.speedValue.textContent = this.maxSpeed ? `${(share * this.maxSpeed * 100).toFixed(1)} cm/s` : "";
  }

  #wantsOpen() {
    return (this.#gripper ?? this.#opening) > 0.5;
  }

  #toggleGripper() {
    this.#setGripper(this.#wantsOpen() ? 0 : 1);
  }

  #setGripper(share) {
    if (!this.#operates) return;
    this.#gripper = share;
    this.said(`gripper ${share ? "opens" : "closes"} while you drive`);
  }

  #setExperts(experts) {
    this.#experts = experts;
    this.elements.choice.replaceChildren(
      ...experts.map((name, i) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `${i + 1} ${name.replaceAll("_", " ")}`;
        button.dataset.expert = name;
        button.setAttribute("aria-pressed", "false");
        button.style.setProperty("--colour", `var(--skill-${i % 7})`);
        button.addEventListener("click", (event) => this.#choose(name, event.shiftKey));
        return button;
      }),
    );
  }

  #choose(name, add) {
    if (!name || !this.#operates || !this.byExperts) return;
    if (add || this.elements.blend.checked) {
      if (!this.#chosen.delete(name)) this.#chosen.add(name);
    } else {
      this.#chosen = new Set([name]);
    }
    for (const button of this.elements.choice.children) {
      button.setAttribute("aria-pressed", String(this.#chosen.has(button.dataset.expert)));
    }
    this.#tick();
  }
}
