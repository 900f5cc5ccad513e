// The page: one state comes in twenty times a second, commands go out.

import { Connection } from "./connection.js";
import { Drive } from "./drive.js";
import { Gate } from "./gate.js";
import { Recordings } from "./recordings.js";
import { View } from "./video.js";

const MODES = { policy: "Policies", teleop: "Operator", idle: "Nobody" };
const THEMES = ["", "light", "dark"];
const $ = (id) => document.getElementById(id);
const connection = new Connection();
const views = new Map();
let state = null;
let toastTimer = 0;
let wanted = { mode: null, until: 0 }; // shown until the robot's own word of it can be here

function toast(text, fault = false) {
  if (!text) return;
  $("toast").textContent = text;
  $("toast").classList.toggle("fault", fault);
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), fault ? 6000 : 2500);
}

const tell = ({ ok, text }) => toast(text, !ok);
const command = async (name, fields) => tell(await connection.ask(name, fields));

// -- the emergency stop comes first: nothing else has to work for it ---------------------------

const emergencyStop = () => command("emergency_stop");
$("emergency-stop").addEventListener("pointerdown", (event) => event.button === 0 && emergencyStop());
// by Enter, Space or a screen reader: a click that no pointer made
$("emergency-stop").addEventListener("click", (event) => event.detail === 0 && emergencyStop());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.repeat && state?.you.operates) emergencyStop();
}, true);

const gate = new Gate($("weights"), $("history"));
const drive = new Drive(
  connection,
  {
    drive: $("drive"), driveState: $("drive-state"), pad: $("pad"), lift: $("lift"), gamepad: $("gamepad"),
    gripper: $("gripper"), hold: $("hold"), what: $("what"), speed: $("speed"), speedValue: $("speed-value"),
    fine: $("fine"), choice: $("choice"), blend: $("blend"),
  },
  toast,
);
const recordings = new Recordings(
  connection,
  {
    name: $("name"), skill: $("skill"), record: $("record"), recordStart: $("record-start"),
    recorderState: $("recorder-state"), episodes: $("episodes"), noEpisodes: $("no-episodes"),
  },
  tell,
);

$("control").addEventListener("click", async () => {
  if (state?.you.operates) return command("give_control");
  await recordings.introduce();
  const answer = await connection.ask("take_control");
  tell(answer);
  if (answer.ok) $("drive").focus({ preventScroll: true });
});
$("release").addEventListener("click", () => command("release"));
$("grant").addEventListener("click", () => command("answer_request", { grant: true }));
$("refuse").addEventListener("click", () => command("answer_request", { grant: false }));
async function setMode(mode) {
  wanted = { mode, until: performance.now() + 3000 };
  const answer = await connection.ask("set_mode", { mode });
  tell(answer);
  wanted.until = answer.ok ? performance.now() + 1500 : 0;
}
$("stop").addEventListener("click", () => setMode("idle"));
for (const input of $("mode").querySelectorAll("input")) {
  input.addEventListener("change", () => setMode(input.value));
}
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const [kind, value] = $("task").value.split(":");
  const what = { skill: { skill: value }, scenario: { scenario: Number(value) } }[kind] ?? {};
  command("start_episode", { ...what, seed: Number($("seed").value) });
});

$("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]));
const theme = () => localStorage.getItem("theme") ?? "";
function setTheme(name) {
  localStorage.setItem("theme", name);
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  $("theme").setAttribute("aria-label", `Colours: ${name || "as the system"}`);
}
setTheme(theme());

// -- what is shown -----------------------------------------------------------------------------

const text = (id, value) => $(id).textContent !== value && ($(id).textContent = value);
const words = (name) => name.replaceAll("_", " ");

function show(news) {
  const first = state === null;
  state = news;
  const { robot, you } = state;
  document.body.classList.remove("offline");
  document.body.classList.toggle("watching", !you.operates);
  document.body.classList.toggle("simulated", robot.simulated);
  if (first || !$("skill").length) fillChoices(robot.experts, robot.scenarios);
  showPeople(you);
  showStatus(state.command, you);
  showCameras(robot.cameras);
  gate.setExperts(robot.experts);
  gate.update(state.weights, state.now);
  showEpisode(state.episode);
  showArm(state.arm);
  showHealth(state);
  for (const area of document.querySelectorAll(".for-operator")) {
    if (area.matches("fieldset")) area.disabled = !you.operates;
    for (const input of area.querySelectorAll("button:not(#record *), select, input:not(#name)")) input.disabled = !you.operates;
  }
  drive.update(state);
  recordings.update(state);
}

function fillChoices(experts, scenarios) {
  const option = (value, label) => Object.assign(document.createElement("option"), { value, textContent: label });
  const group = (label, options) => {
    const made = Object.assign(document.createElement("optgroup"), { label });
    made.append(...options);
    return made;
  };
  const numbers = Array.from({ length: scenarios }, (_, i) => i + 1);
  $("task").replaceChildren(
    option("", "the same again, or as launched"),
    group("Scenario", numbers.map((k) => option(`scenario:${k}`, `Scenario ${k}: ${k} ${k > 1 ? "skills" : "skill"}`))),
    group("One skill", experts.map((name) => option(`skill:${name}`, words(name)))),
  );
  $("skill").replaceChildren(option("", "as the run says"), ...experts.map((name) => option(name, words(name))));
}

function showPeople(you) {
  text("arm-name", state.robot.name);
  text("operator", you.operates ? "you operate" : state.operator ? `${state.operator} operates` : "nobody operates");
  text("viewers", state.viewers === 1 ? "1 viewer" : `${state.viewers} viewers`);
  const wish = you.operates ? "Give up control" : you.asks ? "Asked for control…" : state.operator ? "Ask for control" : "Take control";
  text("control", wish);
  $("control").classList.toggle("primary", !you.operates);
  $("control").disabled = you.asks;
  const asked = you.operates && state.asking !== null;
  if (asked) text("asking", state.asking);
  $("request").hidden = !asked;
  const delay = connection.roundTrip;
  text("link", delay === null ? "live" : `live · ${delay < 10 ? delay.toFixed(1) : delay.toFixed(0)} ms`);
}

function showStatus({ mode: told, message, level, stopped }, you) {
  const mode = performance.now() < wanted.until ? wanted.mode : told;
  $("status").dataset.level = stopped ? "error" : level;
  text("mode-name", stopped ? "Emergency stop" : (MODES[mode] ?? "–"));
  text("status-text", message);
  $("release").hidden = !stopped;
  $("release").disabled = !you.operates;
  for (const input of $("mode").querySelectorAll("input")) input.checked = input.value === mode;
}

function showCameras(cameras) {
  if (views.size === cameras.length) return;
  for (const camera of cameras) {
    if (views.has(camera)) continue;
    const view = new View(camera, () => $("overlay").checked);
    views.set(camera, view);
    $("views").append(view.element);
  }
  $("no-camera").hidden = views.size > 0;
}

function showEpisode(episode) {
  const { state: name, stages_done: done, stages_total: total, stage, time } = episode ?? {};
  $("progress").hidden = !total;
  if (total) {
    $("progress").max = total;
    $("progress").value = done;
  }
  const next = name === "running" && stage ? `, now ${words(stage)}` : "";
  text("episode-state", name ? `${words(name)}: ${done ?? 0} of ${total ?? 0} skills${next}${name !== "running" && time ? ` in ${time.toFixed(1)} s` : ""}` : "");
}

const metres = (value) => value.toFixed(3).replace("-", "−");

function showArm(arm) {
  text("tip", arm?.tip ? `${arm.tip.map(metres).join(", ")} m` : "–");
  text("opening", arm?.opening != null ? `${(arm.opening * 1000).toFixed(0)} mm open` : "–");
  text("speed-now", arm?.speed != null ? `${(arm.speed * 100).toFixed(1)} cm/s` : "");
  const joints = arm?.joints ?? [];
  while ($("joints").children.length < joints.length) $("joints").append(jointRow($("joints").children.length));
  joints.forEach(({ name, position, lower, upper }, i) => {
    const [label, track, value] = $("joints").children[i].children;
    const share = Math.min(Math.max((position - lower) / (upper - lower), 0), 1);
    label.title = name;
    track.firstChild.style.left = `${100 * share}%`;
    value.textContent = `${position.toFixed(2).replace("-", "−")} rad`;
    $("joints").children[i].classList.toggle("near", share < 0.03 || share > 0.97);
  });
}

function jointRow(index) {
  const row = document.createElement("li");
  const [label, track, value] = ["span", "div", "span"].map((name) => document.createElement(name));
  label.textContent = `J${index + 1}`;
  track.className = "track";
  track.append(document.createElement("i"));
  value.className = "value";
  row.append(label, track, value);
  return row;
}

function rows(list, items, fill) {
  while (list.children.length > items.length) list.lastChild.remove();
  while (list.children.length < items.length) list.append(document.createElement("li"));
  items.forEach((item, i) => fill(list.children[i], item));
}

function showHealth({ latency, rates, diagnostics }) {
  text("latency", latency === null ? "" : `observation to command ${(latency * 1000).toFixed(0)} ms`);
  rows($("rates"), Object.entries(rates), (row, [topic, rate]) => {
    const shown = rate > 0 ? `${rate < 9.5 ? rate.toFixed(1) : rate.toFixed(0)} Hz` : "silent";
    if (row.dataset.shown === topic + shown) return;
    row.dataset.shown = topic + shown;
    row.className = rate > 0 ? "" : "silent";
    row.replaceChildren(...[topic, shown].map((t) => Object.assign(document.createElement("span"), { textContent: t })));
  });
  rows($("diagnostics"), diagnostics, (row, { name, level, message }) => {
    const shown = `${name}: ${message}`;
    row.className = level;
    if (row.textContent !== shown) row.textContent = shown;
  });
}

connection.addEventListener("state", (event) => show(event.detail));
connection.addEventListener("refused", (event) => toast(event.detail, true));
connection.addEventListener("open", () => recordings.introduce());
connection.addEventListener("lost", () => {
  document.body.classList.add("offline", "watching");
  text("link", "not connected");
  text("status-text", "no connection to the console");
  $("status").dataset.level = "unknown";
  drive.letGo();
});
connection.open();
connection.keepAlive();
