#!/usr/bin/env python3
"""A mesh whose proxies are stock Envoys: what `weir run DIR` does, done by `weir pilot`, and an Envoy with `weir agent` beside it for
the gateway and for each workload of this machine. The conformance suites take it in the place of `weir`: so what Istio was seen to do
is held against our pilot with Envoy behind it, too.
usage: envoys.py run DIR --mesh-config F [--ca DIR]     WEIR and ENVOY name the programs; SIGTERM ends it"""
import argparse, ipaddress, os, pathlib, signal, subprocess, sys, tempfile, time
import yaml

GATEWAY = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
# So long may a pilot or an agent take until it is up: a machine with much else to do is no failure.
PATIENCE = 20
# So long may a process take to end. The suites wait eight seconds for all of it.
FAREWELL = 3


def proxies(folder):
    """The id and the labels of the gateway, and of the sidecar of each workload that is to have one here."""
    yield "router~127.0.0.1~istio-ingressgateway.istio-system~istio-system.svc.cluster.local", GATEWAY
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        for document in filter(None, yaml.safe_load_all(path.read_text())):
            if document["kind"] == "WorkloadEntry" and has_sidecar(document):
                meta, spec = document["metadata"], document["spec"]
                namespace = meta.get("namespace", "default")
                labels = {**(meta.get("labels") or {}), **(spec.get("labels") or {})}
                yield f"sidecar~{spec['address']}~{meta['name']}.{namespace}~{namespace}.svc.cluster.local", labels


def has_sidecar(workload):
    meta = workload["metadata"]
    said = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    return said.get("sidecar.istio.io/inject") != "false" and ipaddress.ip_address(workload["spec"]["address"]).is_loopback


class Mesh:
    """The processes of a mesh, which share a folder and the caller's output."""

    def __init__(self, folder):
        self.folder, self.running = pathlib.Path(folder), []
        self.weir, self.envoy = os.environ["WEIR"], os.environ["ENVOY"]
        self.follow = ["--xds", f"unix:{self.folder}/xds", "--state", self.folder / "state"]

    def start_all(self, args):
        authority = ["--ca", args.ca] if args.ca else ["--ephemeral-root"]
        self.start(self.weir, "pilot", args.dir, "--mesh-config", args.mesh_config, *self.follow, *authority)
        self.wait_for([self.folder / "xds"])
        bootstraps = [self.start_agent(number, *proxy) for number, proxy in enumerate(proxies(args.dir))]
        self.wait_for(bootstraps)
        for bootstrap in bootstraps:
            # One worker, as where Istio was recorded, and a log that nobody need wait for.
            self.start(self.envoy, "-c", bootstrap, "--use-dynamic-base-id", "--concurrency", 1, "--log-level", "warning",
                       "--file-flush-interval-msec", 10)

    def start_agent(self, number, proxy, labels):
        """Returns where it will write the bootstrap of its Envoy."""
        bootstrap, socket = self.folder / f"{number}.json", self.folder / f"{number}.sock"
        labels = ",".join(f"{name}={value}" for name, value in labels.items())
        self.start(self.weir, "agent", *self.follow, "--id", proxy, "--labels", labels, "--socket", socket, "--bootstrap", bootstrap)
        return bootstrap

    def start(self, *command):
        # Whoever is killed before it could end them leaves nobody behind: the next case has the same ports.
        words = ["setpriv", "--pdeathsig", "KILL", "--", *(str(word) for word in command)]
        self.running.append(subprocess.Popen(words, stdin=subprocess.DEVNULL))

    def wait_for(self, paths):
        """Until these files are there, whole: each is a socket, or ends in a brace."""
        end = time.monotonic() + PATIENCE
        while missing := [path.name for path in paths if not (path.is_socket() or path.exists() and path.read_text().endswith("}"))]:
            self.check()
            if time.monotonic() > end:
                sys.exit(f"envoys.py: after {PATIENCE} s there is no {', '.join(missing)}")
            time.sleep(0.02)

    def check(self):
        """All of them run for ever."""
        for process in self.running:
            if process.poll() is not None:
                sys.exit(f"envoys.py: {' '.join(process.args)} has ended with {process.returncode}")

    def end(self):
        for process in self.running:
            process.terminate()
        end = time.monotonic() + FAREWELL
        for process in self.running:
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("dir")
    parser.add_argument("--mesh-config", required=True)
    parser.add_argument("--ca")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as folder:
        mesh = Mesh(folder)
        try:
            mesh.start_all(args)
            while True:
                mesh.check()
                time.sleep(0.2)
        finally:
            # Whoever is in a hurry may say so twice; the processes end all the same.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            mesh.end()


main()
