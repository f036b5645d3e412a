"""Counts the attacks and what was asserted of them, for `make attacks` to print."""

ASSERTIONS = (
    "test_no_point_is_gained",
    "test_nobody_else_is_touched",
    "test_the_run_goes_on",
    "test_nothing_leaks",
)


def pytest_terminal_summary(terminalreporter):
    counts = dict.fromkeys(ASSERTIONS, 0)
    attacks = set()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            name, _, attack = report.nodeid.rpartition("::")[2].partition("[")
            if report.when == "call" and name in counts:
                counts[name] += 1
                attacks.add(attack)
    lines = ", ".join(f"{count} {name}" for name, count in counts.items())
    terminalreporter.write_line(
        f"{len(attacks)} attacks, {sum(counts.values())} assertions: {lines}"
    )
