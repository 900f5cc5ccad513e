// Recording controls and the list of episodes.

const REFRESH = 5000; // ms

export class Recordings {
  #known = null; // episodes as listed, to draw only what changed
  #state = null;

  constructor(connection, elements, tell) {
    this.connection = connection;
    this.elements = elements;
    this.tell = tell;
    elements.name.value = localStorage.getItem("name") ?? "";
    elements.name.addEventListener("change", () => {
      localStorage.setItem("name", elements.name.value);
      this.introduce();
    });
    elements.record.addEventListener("submit", async (event) => {
      event.preventDefault();
      await this.introduce();
      this.#ask({ action: "start", skill: elements.skill.value });
    });
    for (const button of elements.record.querySelectorAll("[data-record]")) {
      button.addEventListener("click", () => this.#isSure(button) && this.#ask({ action: button.dataset.record }));
    }
    setInterval(() => document.hidden || this.refresh(), REFRESH);
    this.refresh();
  }

  /** An episode that has ended is only thrown away by a second press. */
  #isSure(button) {
    if (button.dataset.record !== "discard" || this.#state === "recording" || button.dataset.asked) return true;
    const text = button.textContent;
    button.dataset.asked = "true";
    button.textContent = "Really discard?";
    setTimeout(() => {
      delete button.dataset.asked;
      button.textContent = text;
    }, 3000);
    return false;
  }

  introduce() {
    return this.connection.ask("name", { name: this.elements.name.value });
  }

  async #ask(fields) {
    this.tell(await this.connection.ask("record", fields));
    this.refresh();
  }

  update(state) {
    const { recorder, you } = state;
    const recording = recorder?.state === "recording";
    const { recorderState, recordStart, record } = this.elements;
    let text = "no recorder runs";
    if (recording) {
      const outcome = { true: ", a success", false: ", a failure" }[recorder.success] ?? "";
      const lost = recorder.dropped ? `, ${recorder.dropped} messages lost` : "";
      text = `● recording ${recorder.episode ?? ""}, ${Math.floor(recorder.time ?? 0)} s${outcome}${lost}`;
    } else if (recorder) {
      text = recorder.automatic ? "ready: records every run" : "ready";
      if (recorder.episode) text += `, last ${recorder.episode}`;
    }
    if (recorderState.textContent !== text) recorderState.textContent = text;
    recorderState.classList.toggle("recording", recording);
    recordStart.disabled = !you.operates || !recorder || recording;
    for (const button of record.querySelectorAll("[data-record]")) {
      const possible = recording || (recorder?.episode && button.dataset.record !== "stop");
      button.disabled = !you.operates || !possible;
    }
    if (this.#state !== recorder?.state) this.refresh();
    this.#state = recorder?.state;
  }

  async refresh() {
    const answer = await fetch("/episodes").catch(() => null);
    if (!answer?.ok) return;
    const episodes = await answer.json();
    const known = JSON.stringify(episodes);
    if (known === this.#known) return;
    this.#known = known;
    this.elements.noEpisodes.hidden = episodes.length > 0;
    this.elements.episodes.replaceChildren(...episodes.map((episode) => this.#item(episode)));
  }

  #item({ name, size, duration, facts }) {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.loading = "lazy";
    image.alt = "";
    image.src = `/thumbnail?episode=${encodeURIComponent(name)}&size=${size}`;
    const text = document.createElement("div");
    const line = (kind, words, element = "p") => {
      if (!words) return;
      const made = document.createElement(element);
      made.className = kind;
      made.textContent = words;
      text.append(made);
    };
    line("", name, "strong");
    const what = facts.skill?.replaceAll("_", " ") || (facts.scenario ? `scenario ${facts.scenario}` : "");
    line("quiet", [what, facts.operator].filter(Boolean).join(" · "));
    const length = duration === null ? "no end yet" : `${duration.toFixed(1)} s`;
    line("quiet", `${length} · ${(size / 1e6).toFixed(1)} MB`);
    const success = facts.success?.toLowerCase();
    line(`outcome ${success}`, { true: "✓ success", false: "✗ failure" }[success]);
    item.append(image, text);
    return item;
  }
}
