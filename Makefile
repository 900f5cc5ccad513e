# make demo | test | lint: each sets this checkout up first, once.
# make metaworld: Meta-World in a virtual environment of its own, for train multitask --suite mt10
#   make demo SCENARIO=7 EPISODES=3 SEED=5 VIEWER=1 ARGS="--json out/demo.json"
#   make test ARGS="-k perception"

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: demo test lint setup metaworld

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.stamp
APT_PYTHON := python3 python3-venv
APT_EGL := libegl1 libegl-mesa0 libgl1-mesa-dri
CHROMIUM := chromium
TORCH_INDEX := https://download.pytorch.org/whl/cpu

# a sourced ROS 2 would otherwise be mixed with the one of the virtual environment
unexport PYTHONPATH AMENT_PREFIX_PATH MOE_ROBOT_CONTROL_SHARE
export MUJOCO_GL ?= egl

demo: $(STAMP)
	@$(VENV)/bin/moe-robot-control demo $(if $(SEED),--seed $(SEED)) \
	    $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(EPISODES),--episodes $(EPISODES)) \
	    $(if $(POLICY),--policy $(POLICY)) $(if $(VIEWER),--viewer) $(ARGS)

test: $(STAMP)
	@$(APT)
	# the console's page is tested in a real browser; its tests are skipped where it is absent
	command -v chromium chromium-browser google-chrome >/dev/null || ! may_install \
	    || apt_install $(CHROMIUM) || echo "No browser: tests of the page are skipped" >&2
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(STAMP)
	@$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

setup: $(STAMP)

# Meta-World needs a MuJoCo of its own
metaworld: $(STAMP) $(VENV)-metaworld/.stamp

$(VENV)-metaworld/.stamp: requirements-metaworld.txt
	@$(PYTHON) -m venv $(VENV)-metaworld
	$(VENV)-metaworld/bin/python -m pip --disable-pip-version-check install -qq -r $<
	touch $@

# install Debian packages where that is allowed, else say which and stop
define APT
as_root=""
[ "$$(id -u)" = 0 ] || as_root="sudo -n"
may_install() {
    command -v apt-get >/dev/null && { [ -z "$$as_root" ] || $$as_root true 2>/dev/null; }
}
apt_install() {
    if ! may_install; then
        echo "These Debian packages are missing: $$*" >&2
        echo "Install them, then call make again:  sudo apt-get install -y $$*" >&2
        exit 1
    fi
    echo "Installing $$*"
    $$as_root apt-get update -qq
    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$* >/dev/null
}
endef

$(STAMP): requirements.txt requirements-torch.txt setup.py
	@$(APT)
	# 1. what only the system can give: Python with venv, and rendering without a display
	if ! command -v $(PYTHON) >/dev/null || ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then
	    apt_install $(APT_PYTHON)
	fi
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	    echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V). Another one:" \
	        "make PYTHON=/path/to/python3.11 ..." >&2
	    exit 1
	}
	libraries="$$(PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p)"
	missing=""
	if command -v dpkg-query >/dev/null; then
	    for package in $(APT_EGL); do
	        dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed \
	            || missing="$$missing $$package"
	    done
	elif [[ "$$libraries" != *libEGL.so.1* ]]; then
	    missing="$(APT_EGL)"
	fi
	# without root, EGL of another origin may serve as well: step 4 tries it
	if [ -n "$$missing" ] && { [[ "$$libraries" != *libEGL.so.1* ]] || may_install; }; then
	    apt_install $$missing
	fi
	# 2. the virtual environment
	if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then
	    echo "Creating $(VENV)"
	    $(PYTHON) -m venv $(VENV)
	fi
	pip="$(VENV)/bin/python -m pip --disable-pip-version-check"
	echo "Installing the pinned requirements into $(VENV) (some minutes the first time)"
	$$pip install -qq -r requirements.txt
	# torch without CUDA: 200 MB rather than gigabytes. Its own index has it for x86-64; where
	# that cannot be reached, or for other machines, whatever the configured index offers
	if ! $(VENV)/bin/python -c 'import torch' 2>/dev/null; then
	    { [ "$$(uname -m)" = x86_64 ] && $$pip --timeout 15 --retries 0 install -qq --no-deps \
	        --index-url $(TORCH_INDEX) -r requirements-torch.txt 2>/dev/null; } \
	        || $$pip install -qq -r requirements-torch.txt
	fi
	# 3. this package
	$$pip install -qq --no-deps --no-build-isolation -e .
	# 4. it can render
	MUJOCO_GL=egl $(VENV)/bin/python -c 'import mujoco; mujoco.GLContext(64, 64).make_current()' || {
	    echo "Rendering without a display (EGL) does not work. Install Mesa's:" \
	        "sudo apt-get install -y $(APT_EGL)" >&2
	    exit 1
	}
	touch $@
