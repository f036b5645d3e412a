# Every habit of the course has a target; `make` alone prints them.
# Each target makes .venv itself, from requirements.txt, and is quick once it is there.

SHELL := /bin/sh
.DEFAULT_GOAL := help

READY  := .venv/.ready
RUN    := .venv/bin/python
# One assignment, as in ASSIGNMENT=03-vjp; without it `release` and `grade` mean all of them.
ASSIGNMENT ?=
STUDENT ?=
LAB_ARGS ?=
PYTEST_ARGS ?=
GRADE_ARGS ?=

REPLAY_ARGS ?=
BENCH_ARGS ?=

.PHONY: help lab test lint notebooks keys replay parity proofs grade report release attacks bench browser clean

help: ## 列出所有目标 / print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

lab: $(READY) ## 打开课程（选项 LAB_ARGS="--no-browser --port 8890"）/ open the course in JupyterLab
	@$(RUN) -m grading.homework
	@$(RUN) -m tutor.lab $(LAB_ARGS)

test: lint ## 代码风格与全部测试（浏览器除外）/ lint and every test but the browser's
	@mkdir -p .cache
	@$(RUN) -m pytest -n 2 --dist loadfile --junitxml=.cache/test.xml $(PYTEST_ARGS)

lint: $(READY) ## 检查代码风格 / check the style of the code
	@$(RUN) -m ruff check .

notebooks: $(READY) ## 就地执行所有笔记本并写成规范形式 / execute every notebook in place
	@$(RUN) -m grading notebooks

keys: $(READY) ## 由 source/ 重新生成 tutor/keys/ / make tutor/keys/ again from source/
	@$(RUN) -m grading keys

replay: $(READY) ## 重放每个单元，比较每个输出（REPLAY_ARGS=--cold：冷内核）/ replay and compare every output
	@$(RUN) -m grading replay $(REPLAY_ARGS)

parity: $(READY) ## 比较中文与英文 / compare the two languages
	@$(RUN) -m grading parity

proofs: $(READY) ## 证明每个判分器 / prove every grader, write docs/proofs.md
	@$(RUN) -m grading proofs

grade: $(READY) ## 批改（ASSIGNMENT=03-vjp；没有提交时用示例班级）/ grade a class
	@$(RUN) -m grading grade $(ASSIGNMENT) $(GRADE_ARGS)

report: $(READY) ## 查看一份提交（ASSIGNMENT=03-vjp STUDENT=名字）/ read one submission's verdicts
	@$(RUN) -m grading report $(ASSIGNMENT) $(STUDENT)

release: $(READY) ## 生成学生版，并证明其中没有答案 / make the students' version, prove it has no answer
	@$(RUN) -m grading release $(ASSIGNMENT)

attacks: $(READY) ## 用怀有恶意的提交攻击判分器，写出 docs/attacks.md / attack the grader, write docs/attacks.md
	@mkdir -p .cache
	@$(RUN) -m pytest -s tests/attacks --junitxml=.cache/attacks.xml $(PYTEST_ARGS)

bench: $(READY) ## 与常用工具并排测速，写出 docs/performance.md / measure against stock tools
	@$(RUN) -m bench $(BENCH_ARGS)

browser: $(READY) ## 在 Chromium 里试用课程 / try the course in Chromium
	@mkdir -p .cache
	@$(RUN) -m pytest -s tests/browser --junitxml=.cache/browser.xml $(PYTEST_ARGS)

clean: ## 删除可重新生成的文件（不碰作业、成绩与密钥）/ remove what make makes; never work or scores
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info release feedback
	find tutor grading tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an installation that was broken off is taken up again.
$(READY): requirements.txt pyproject.toml
	@# Left by another installer, it would hide the entry points of this one.
	@rm -rf autograd_both_ways.egg-info
	@python=; for name in $(PYTHON) python3.11 python3 python; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
	  then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo '找不到 Python 3.11。请先安装它，或运行 make PYTHON=它的路径 …' >&2; \
	  echo 'Python 3.11 was not found. Install it, or run make PYTHON=its-path …' >&2; \
	  exit 1; \
	fi; \
	echo '正在准备 .venv（第一次需要几分钟）… / Preparing .venv (a few minutes the first time) …'; \
	"$$python" -m venv .venv || { \
	  echo '无法建立 .venv：请安装 Python 的 venv 模块（Debian 与 Ubuntu：python3.11-venv）。' >&2; \
	  echo '.venv could not be made: install the venv module (Debian, Ubuntu: python3.11-venv).' >&2; \
	  exit 1; \
	}; \
	{ $(RUN) -m pip install -q --disable-pip-version-check -r requirements.txt && \
	  $(RUN) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	} || { \
	  echo '安装失败：请看上面的信息，检查网络后再运行一次同样的命令。' >&2; \
	  echo 'Installing failed: see the message above, check the network, run the command again.' >&2; \
	  exit 1; \
	}
	@# Without this JupyterLab covers the lesson with a question about its news, and calls home.
	@.venv/bin/jupyter labextension disable --level=sys_prefix \
	  @jupyterlab/apputils-extension:announcements > /dev/null 2>&1
	@touch $@
