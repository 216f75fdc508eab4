"""`tests/bench [SCENARIO…]`: DartSync beside its rivals."""
import argparse, json, os, platform
from net import WORK, run, say
from report import plot, table
from scenarios import SCENARIOS, Figures

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))


def main():
    ask = argparse.ArgumentParser(prog="tests/bench", description="DartSync beside its rivals, on the same data, in the same minutes.")
    ask.add_argument("scenario", nargs="*", help=", ".join(SCENARIOS) + "; without one, all")
    ask.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    ask.add_argument("--systems", help="only these: dartsync,rsync,ssh,syncthing,unison,lsyncd")
    ask.add_argument("--out", default=f"{ROOT}/target/bench", help="where table.md, plot.svg and figures.json go")
    asked = ask.parse_args()
    unknown = [s for s in asked.scenario if s not in SCENARIOS]
    if unknown:
        ask.error(f"no scenario {unknown[0]}: there are {', '.join(SCENARIOS)}")
    figures, only = Figures(), asked.systems.split(",") if asked.systems else None
    os.makedirs(asked.out, exist_ok=True)
    for name in asked.scenario or SCENARIOS:
        measure, systems = SCENARIOS[name]
        systems = [s for s in systems if not only or s in only]
        say(f"{name}: {measure.__doc__.strip()} {', '.join(systems)}, in {os.path.dirname(WORK)}")
        measure(figures, systems, asked.rounds)
        write(figures, asked.out)
    print(table(figures))


def write(figures, out):
    """After each scenario: what was measured is kept, whatever becomes of the next."""
    with open(f"{out}/figures.json", "w") as f:
        json.dump([dict(scenario=k[0], metric=k[1], unit=k[2], values=v) for k, v in figures.values.items()], f, indent=1)
    versions = [run("rsync", "--version").split("\n")[0].split("protocol")[0], run("syncthing", "--version", env={**os.environ, "HOME": WORK}).split('"')[0],
                run("unison", "-version").strip()]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    with open(f"{out}/table.md", "w") as f:
        f.write(f"{os.cpu_count()} × {cpu}; {'; '.join(' '.join(v.split()) for v in versions)}\n\n{table(figures)}\n")
    plot(figures, f"{out}/plot.svg")


main()
