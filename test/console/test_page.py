"""The page in a real browser: what the operator does reaches the robot, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from moe_robot_control.console.access import Access
from moe_robot_control.console.robot import Wish

from .browser import chromium, open_page, take_control, until
from .conftest import Served, serving
from .fake_robot import FakeRobot
from .test_episodes import write

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
CONTRAST = """() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const paint = (colours) => {
    canvas.globalCompositeOperation = "source-over";
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, .unseen")) continue;
    if (element.closest(".view, #toast, option, optgroup")) continue;
    const grounds = [];
    for (let e = element; e; e = e.parentElement) {
      grounds.unshift(getComputedStyle(e).backgroundColor);
    }
    const ground = light(paint(grounds));
    const ink = light(paint([...grounds, getComputedStyle(element).color]));
    const ratio = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${element.textContent.trim()} ${ratio}`);
  }
  return poor;
}"""
"""Texts that differ too little from their background (WCAG 2.2, 1.4.3)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def served(robot: FakeRobot) -> Iterator[Served]:
    with serving(robot, Access.of("127.0.0.1")) as it:
        yield it


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    with open_page(browser, served.url) as opened:
        yield opened


def wishes(robot: FakeRobot) -> list[Wish]:
    return [call[1] for call in robot.calls if call[0] == "drive"]


def until_driving(page: Any, robot: FakeRobot) -> Wish:
    """The next wish that is not older than this call."""
    before = len(wishes(robot))
    return until(page, lambda: wishes(robot)[before:], "wish")[-1]


def until_let_go(page: Any, robot: FakeRobot) -> None:
    until(page, lambda: robot.calls and robot.calls[-1] == ("let_go",), "letting go")


# -- watching ----------------------------------------------------------------------------------


def test_what_a_viewer_sees(page: Any) -> None:
    for camera in ("left", "right"):
        page.get_by_role("img", name=f"Camera {camera}, sees vial, drawer handle").wait_for()
    assert page.locator("#weights li").nth(5).inner_text().split("\n")[-1] == "0.60"
    assert "moving" in page.get_by_role("region", name="Status").inner_text()
    assert "0.510, −0.102, 0.230 m" in page.get_by_role("region", name="Arm").inner_text()
    health = page.get_by_role("region", name="Health").inner_text()
    assert "observation to command 18 ms" in health and "silent" in health
    assert page.get_by_role("progressbar", name="Skills done").get_attribute("value") == "2"
    filled = page.evaluate(
        """() => [...document.querySelectorAll("canvas")].map((canvas) => {
          const {width, height} = canvas;
          return canvas.getContext("2d").getImageData(0, 0, width, height).data.some(Boolean);
        })"""
    )
    assert filled == [True, True, True]


def test_a_viewer_can_only_stop(page: Any, robot: FakeRobot) -> None:
    main = page.get_by_role("main")
    for button in main.get_by_role("button").all():
        assert button.is_disabled(), button.inner_text()
    for name in ("Policies", "Operator", "Nobody"):
        assert page.get_by_role("radio", name=name).is_disabled()
    page.locator("#drive").focus()
    page.keyboard.down("Space")
    page.keyboard.down("w")
    page.keyboard.press("Escape")
    page.locator("#pad").hover()
    page.mouse.down()
    page.get_by_role("button", name="Emergency stop").click()
    until(page, lambda: robot.stopped, "emergency stop")
    assert robot.calls == [("emergency_stop",)]
    page.get_by_role("button", name="Release").wait_for()
    assert page.get_by_role("button", name="Release").is_disabled()


def test_text_is_never_markup(page: Any, robot: FakeRobot) -> None:
    evil = "<img src=x onerror=\"document.title='broken'\">"
    write(robot.folder / "one", {"skill": evil, "operator": evil})
    command = robot.state()["command"] | {"message": evil}
    robot.news = {
        "command": command,
        "diagnostics": [{"name": evil, "level": "error", "message": evil}],
        "rates": {evil: 1.0},
        "episode": {"state": "running", "stages_done": 0, "stages_total": 1, "stage": evil},
        "recorder": {"state": "recording", "episode": evil, "time": 1, "success": None},
    }
    page.get_by_role("region", name="Health").get_by_text(evil).first.wait_for()
    page.get_by_role("list", name="Recorded episodes").get_by_text(evil).wait_for()
    assert page.title() == "Robot console"


def test_episodes_are_listed_with_thumbnails(page: Any, robot: FakeRobot) -> None:
    facts = {"skill": "push_button", "operator": "Ana"}
    write(robot.folder / "push_button" / "one", facts)
    write(robot.folder / "push_button" / "two", facts, end=False)
    items = page.get_by_role("list", name="Recorded episodes").get_by_role("listitem")
    until(page, lambda: items.count() == 2, "list of two")
    texts = "\n".join(items.all_inner_texts())
    assert "push_button/one" in texts and "push button · Ana" in texts
    assert "4.0 s" in texts and "✓ success" in texts and "no end yet" in texts
    image = items.locator("img")
    sizes = "images => images.map((image) => image.naturalWidth)"
    until(page, lambda: 192 in image.evaluate_all(sizes), "thumbnail")


def test_it_says_when_the_console_is_gone(browser: Any, robot: FakeRobot) -> None:
    with serving(robot, Access.of("127.0.0.1")) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.url)
        page.wait_for_selector("body:not(.offline)")
        take_control(page)
    page.wait_for_selector("body.offline.watching")
    assert page.get_by_text("no connection to the console").is_visible()
    context.close()


# -- commanding --------------------------------------------------------------------------------


def test_commands(page: Any, robot: FakeRobot) -> None:
    page.get_by_label("Your name").fill("Ana")
    take_control(page)
    page.get_by_role("group", name="Who commands").get_by_text("Operator").click()
    until(page, lambda: ("set_mode", "teleop") in robot.calls, "mode")
    assert page.get_by_role("radio", name="Operator").is_checked()
    page.get_by_label("Seed").fill("12")
    page.get_by_role("button", name="Start").click()
    until(page, lambda: ("start_episode", None, None, 12, "Ana") in robot.calls, "start")
    page.get_by_label("Task").select_option(label="Scenario 3: 3 skills")
    page.get_by_role("button", name="Start").click()
    until(page, lambda: ("start_episode", 3, None, 12, "Ana") in robot.calls, "start")
    page.get_by_label("Task").select_option(label="unbox")
    page.get_by_role("button", name="Start").click()
    until(page, lambda: ("start_episode", None, "unbox", 12, "Ana") in robot.calls, "start")
    page.get_by_role("button", name="Stop", exact=True).click()
    until(page, lambda: ("set_mode", "idle") in robot.calls, "stop")


def test_a_refusal_is_shown(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    robot.fault = "velocity_commander does not answer"
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("status").get_by_text(robot.fault).wait_for()


def test_recording(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    box = page.get_by_role("region", name="Recording")
    assert box.get_by_role("button", name="Success").is_disabled()
    box.get_by_label("Skill").select_option("unbox")
    box.get_by_role("button", name="Record").click()
    box.get_by_role("status").get_by_text("● recording push_button_1, 3 s").wait_for()
    assert box.get_by_role("button", name="Record").is_disabled()
    box.get_by_role("button", name="Success").click()
    box.get_by_role("status").get_by_text("a success").wait_for()
    box.get_by_role("button", name="Stop and keep").click()
    until(page, lambda: robot.recorder["state"] == "idle", "end")
    box.get_by_role("status").get_by_text("ready").wait_for()
    # what has ended is not thrown away by one press
    box.get_by_role("button", name="Discard").click()
    assert ("record", "discard", {}) not in robot.calls
    box.get_by_role("button", name="Really discard?").click()
    until(page, lambda: ("record", "discard", {}) in robot.calls, "discarding")
    assert ("record", "start", {"operator": "viewer 1", "skill": "unbox"}) in robot.calls


def test_emergency_stop_by_key_and_release(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    page.get_by_label("Seed").focus()
    page.keyboard.press("Escape")
    until(page, lambda: robot.stopped, "emergency stop")
    page.get_by_role("button", name="Release").click()
    until(page, lambda: not robot.stopped, "release")
    page.get_by_role("button", name="Emergency stop").focus()
    page.keyboard.press("Enter")
    until(page, lambda: robot.stopped, "emergency stop")
    assert [c[0] for c in robot.calls] == ["emergency_stop", "release", "emergency_stop"]


def test_control_is_handed_over(browser: Any, page: Any, served: Served) -> None:
    take_control(page)
    with open_page(browser, served.url) as other:
        other.get_by_label("Your name").fill("Ben")
        other.get_by_role("button", name="Ask for control").click()
        page.get_by_role("alert").get_by_text("Ben").wait_for()
        page.get_by_role("button", name="Hand over").click()
        other.wait_for_selector("body:not(.watching)")
        page.wait_for_selector("body.watching")
        assert page.get_by_text("Ben operates").is_visible()


# -- driving -----------------------------------------------------------------------------------


def test_keys_drive_only_with_the_deadman(page: Any, robot: FakeRobot) -> None:
    take_control(page)  # which puts the focus where keys drive
    page.keyboard.down("w")
    page.keyboard.down("d")
    page.keyboard.press("Tab")  # and back, as time for keys that would be wrongly obeyed
    page.keyboard.press("Shift+Tab")
    assert robot.calls == []
    page.keyboard.down("Space")
    page.keyboard.down("w")
    x, y, z = until(page, lambda: [w for w in wishes(robot) if w.velocity[0] > 0], "x")[0].velocity
    assert (x, y, z) == pytest.approx((0.125, 0.0, 0.0))
    page.keyboard.down("d")
    page.keyboard.down("r")
    until(page, lambda: all(wishes(robot)[-1].velocity), "diagonal")
    x, y, z = wishes(robot)[-1].velocity
    assert x > 0 > y and z > 0
    page.keyboard.up("Space")
    until_let_go(page, robot)
    count = len(robot.calls)
    page.keyboard.down("a")
    page.keyboard.press("w")
    assert page.get_by_text("Keys are live").is_visible()
    assert len(robot.calls) == count


@pytest.mark.parametrize("way", ["blur", "hidden", "control"])
def test_leaving_lets_go(page: Any, robot: FakeRobot, way: str) -> None:
    take_control(page)
    page.keyboard.down("Space")
    page.keyboard.down("ArrowUp")
    until_driving(page, robot)
    if way == "blur":
        page.keyboard.press("Tab")
    elif way == "hidden":
        page.evaluate(
            """() => {
              Object.defineProperty(document, "hidden", {value: true, configurable: true});
              document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    else:
        page.get_by_role("button", name="Give up control").click()
    until_let_go(page, robot)


def test_typing_does_not_drive(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    page.get_by_label("Your name").focus()
    page.keyboard.type("was ddd fff")
    page.keyboard.down("Space")
    page.keyboard.down("w")
    page.get_by_label("Seed").focus()
    assert robot.calls == []


def test_speed_fine_mode_and_gripper(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    page.get_by_label("Speed").fill("1")
    page.locator("#drive").focus()
    page.keyboard.down("Space")
    page.keyboard.down("w")
    until(page, lambda: any(w.velocity[0] == 0.25 for w in wishes(robot)), "full speed")
    assert wishes(robot)[-1].gripper is None
    page.keyboard.down("Shift")
    until(page, lambda: wishes(robot)[-1].velocity[0] == pytest.approx(0.05), "fine mode")
    page.keyboard.up("Shift")
    page.keyboard.press("g")
    until(page, lambda: wishes(robot)[-1].gripper == 0.0, "closing")
    page.keyboard.press("g")
    until(page, lambda: wishes(robot)[-1].gripper == 0.08, "opening")


def test_a_gamepad_drives_with_its_deadman(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    page.evaluate("pad([0, -1, 0, 0], [])")
    page.get_by_text("Synthetic pad").wait_for()
    assert robot.calls == []
    page.evaluate("pad([0, -1, 0, 0], [5])")
    assert until_driving(page, robot).velocity == pytest.approx((0.125, 0, 0))
    page.evaluate("pad([1, 0.05, 0, -1], [5, 6, 0])")
    until(page, lambda: wishes(robot)[-1].velocity[1] < 0, "y")
    x, y, z = wishes(robot)[-1].velocity
    assert (x, y) == pytest.approx((0.0, -z)) and wishes(robot)[-1].gripper == 0.0
    assert z < 0.025
    page.evaluate("pad([1, -1, 0, 0], [])")
    until_let_go(page, robot)
    page.evaluate("pad([0, -1, 0, 0], [5])")
    until_driving(page, robot)
    page.evaluate("gamepad = null")  # unplugged
    until_let_go(page, robot)


def test_pads_drive_while_they_are_held(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 200)  # beyond its edge
    until(page, lambda: wishes(robot) and wishes(robot)[-1].velocity[0] > 0.124, "x")
    page.mouse.move(x - 200, y)
    until(page, lambda: wishes(robot)[-1].velocity[1] > 0.124, "y")
    page.mouse.up()
    until_let_go(page, robot)


def test_experts_are_weighed(page: Any, robot: FakeRobot) -> None:
    take_control(page)
    page.get_by_role("radio", name="Experts").check(force=True)
    page.locator("#drive").focus()
    page.keyboard.down("Space")
    page.keyboard.press("2")
    until(page, lambda: wishes(robot) and wishes(robot)[-1].weights == {"unbox": 1.0}, "one")
    page.keyboard.press("Shift+6")
    both = {"unbox": 0.5, "push_button": 0.5}
    until(page, lambda: wishes(robot)[-1].weights == both, "blend")
    page.keyboard.press("4")
    until(page, lambda: wishes(robot)[-1].weights == {"pull_drawer": 1.0}, "another")
    assert wishes(robot)[-1].velocity is None
    page.keyboard.up("Space")
    until_let_go(page, robot)
    page.get_by_role("button", name="1 rotate door").click()
    page.get_by_role("button", name="Hold to let them act").hover()
    page.mouse.down()
    until(page, lambda: wishes(robot)[-1].weights == {"rotate_door": 1.0}, "by the mouse")
    page.mouse.up()
    until_let_go(page, robot)


# -- for everybody -----------------------------------------------------------------------------


def test_everything_has_a_name(page: Any) -> None:
    take_control(page)
    page.get_by_role("radio", name="Experts").check(force=True)
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    named = ("button", "checkbox", "combobox", "image", "radio", "region", "slider", "spinbutton")
    named += ("textbox", "application", "progressbar", "group", "radiogroup")
    found = [n for n in nodes if not n["ignored"] and n["role"]["value"] in named]
    assert len(found) > 30
    nameless = [n for n in found if not n.get("name", {}).get("value", "").strip()]
    # thumbnails are decoration: their text is beside them
    assert nameless == []


def test_everything_is_reached_by_keys(page: Any) -> None:
    take_control(page)
    wanted = set(
        page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, [tabindex]")]
              .filter((e) => e.checkVisibility() && !e.disabled)
              .filter((e) => e.type !== "radio" || e.checked)
              .map((e) => e.id || e.value || e.dataset.record)"""
        )
    )
    page.evaluate(
        """() => {
          document.activeElement.blur();
          window.reached = [];
          const name = (e) => e.id || e.value || e.dataset.record;
          addEventListener("focusin", (event) => window.reached.push(name(event.target)));
        }"""
    )
    for _ in range(len(wanted) + 5):  # the link over the header, and the list of episodes
        page.keyboard.press("Tab")
    reached = page.evaluate("reached")
    assert wanted <= set(reached)
    assert {"emergency-stop", "control", "drive", "task", "seed", "speed"} <= wanted


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_legible(browser: Any, served: Served, scheme: str) -> None:
    with open_page(browser, served.url, color_scheme=scheme) as page:
        take_control(page)
        assert page.evaluate(CONTRAST) == []
        page.get_by_role("radio", name="Experts").check(force=True)
        page.get_by_role("button", name="2 unbox").click()
        page.get_by_role("button", name="Emergency stop").click()
        page.get_by_role("button", name="Release").wait_for()
        assert page.evaluate(CONTRAST) == []
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (ground == "rgb(20, 22, 26)") == (scheme == "dark")


def test_colours_can_be_chosen(page: Any) -> None:
    shown = "getComputedStyle(document.documentElement).backgroundColor"
    colours = set()
    for _ in range(3):
        page.get_by_role("button", name="Colours").click()
        colours.add(page.evaluate(shown))
    assert len(colours) == 2


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1920])
def test_nothing_sticks_out(browser: Any, served: Served, robot: FakeRobot, width: int) -> None:
    long = "scenario_7_20261124T124005218_" * 3
    robot.recorder = {"state": "recording", "episode": long, "time": 20, "success": True}
    robot.news = {"command": robot.state()["command"] | {"message": long}}
    robot.news["diagnostics"] = [{"name": "command", "level": "warn", "message": long}]
    write(robot.folder / long, {"operator": long})
    # as a phone lays a page out: what sticks out makes everything smaller
    options = PHONE | {"viewport": {"width": width, "height": 800}}
    with open_page(browser, served.url, **options) as page:
        take_control(page)
        page.get_by_role("img", name="Camera left, sees").wait_for()
        page.get_by_role("list", name="Recorded episodes").get_by_text(long).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("innerWidth") == width


def test_a_phone_drives_by_touch_and_stops(browser: Any, served: Served, robot: FakeRobot) -> None:
    with open_page(browser, served.url, **PHONE) as page:
        page.get_by_role("button", name="Take control").tap()
        page.wait_for_selector("body:not(.watching)")
        assert page.get_by_text("Hold a pad and drag").is_visible()
        assert not page.locator("#drive-help").is_visible()
        page.locator("#pad").evaluate("pad => pad.scrollIntoView({block: 'center'})")
        box = page.locator("#pad").bounding_box()
        touch = page.context.new_cdp_session(page)

        def send(kind: str, *points: tuple[float, float]) -> None:
            listed = [{"x": x, "y": y} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": listed})

        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        send("touchStart", (x, y))
        send("touchMove", (x, y - 70))
        until(page, lambda: wishes(robot) and wishes(robot)[-1].velocity[0] > 0.124, "x")
        send("touchEnd")
        until_let_go(page, robot)
        stop = page.get_by_role("button", name="Emergency stop")
        at = stop.bounding_box()
        assert at["y"] + at["height"] <= 844 and at["height"] >= 48
        stop.tap()
        until(page, lambda: robot.stopped, "emergency stop")
    assert robot.calls.count(("emergency_stop",)) == 1


def test_the_token_is_asked_for(browser: Any, robot: FakeRobot) -> None:
    token = "correct-horse-battery"
    with serving(robot, Access.of("0.0.0.0", token)) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.url)
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("alert").get_by_text("not the token").wait_for()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Continue").click()
        page.wait_for_selector("body:not(.offline) #emergency-stop")
        take_control(page)
        context.close()
