"""Several processes, on one machine or several, that train one model: who they are, told to TensorFlow by TF_CONFIG.

Every process is given the same command. The first one is the chief: it alone writes.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hazegen.errors import UsageError

SLURM = "slurm"
_VARIABLE = "TF_CONFIG"
_MOST = 4096  # processes; a typing error in a range of nodes is no cluster
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


@dataclass(frozen=True)
class WorkerOptions:
    """Processes that train one model together; the same command is given on each machine.

    Attributes:
        worker_hosts: Addresses of all processes as host:port,host:port, the same on each, the first of which alone
            writes; or slurm, where srun has started them [default: what TF_CONFIG says, else this process alone].
        worker_index: Which of worker_hosts this process is, from 0.
        worker_port: First port of each node, where srun has started the processes [default: 29400].
    """

    worker_hosts: str | None = None
    worker_index: int | None = None
    worker_port: int | None = None


@dataclass(frozen=True)
class Cluster:
    """All processes of a run.

    Attributes:
        hosts: Their addresses as host:port, the chief's first.
        index: Which one this process is.
    """

    hosts: tuple[str, ...]
    index: int

    @property
    def count(self) -> int:
        return len(self.hosts)


def join_cluster(options: WorkerOptions, environment: Mapping[str, str] | None = None) -> Cluster | None:
    """Tells TensorFlow, by TF_CONFIG, which processes there are; to be called before its first operation.

    Returns:
        The cluster; None where this process is alone.

    Raises:
        UsageError: Options or variables that name no cluster.
    """
    variables = os.environ if environment is None else environment
    if options.worker_hosts is None:
        if options.worker_index is not None or options.worker_port is not None:
            raise UsageError(
                "--worker-index and --worker-port belong to --worker-hosts. Expected it beside them, received none. "
                "Add --worker-hosts, or leave them out."
            )
        if environment is None and not os.environ.get(_VARIABLE, " ").strip():
            os.environ.pop(_VARIABLE, None)  # TensorFlow's own reader fails on an empty one
        return read_cluster(variables)
    found = _from_slurm(options, variables) if options.worker_hosts == SLURM else _from_hosts(options)
    os.environ[_VARIABLE] = json.dumps(
        {"cluster": {"worker": list(found.hosts)}, "task": {"type": "worker", "index": found.index}}
    )
    return read_cluster()


def read_cluster(environment: Mapping[str, str] | None = None) -> Cluster | None:
    """The cluster that TF_CONFIG names; None where there is none, or this process alone.

    Raises:
        UsageError: TF_CONFIG cannot be read, or names processes of other kinds than chief and worker.
    """
    text = (os.environ if environment is None else environment).get(_VARIABLE, "").strip()
    if not text:
        return None
    try:
        said = json.loads(text)
        cluster, task = dict(said.get("cluster", {})), dict(said.get("task", {}))
        chiefs, others = list(cluster.pop("chief", [])), list(cluster.pop("worker", []))
        index = int(task.get("index", 0)) + (len(chiefs) if task.get("type") == "worker" else 0)
        kind = task.get("type", "worker")
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _no_cluster(f"{text[:200]!r}") from None
    hosts = (*chiefs, *others)
    if not hosts and not cluster:
        return None
    if cluster or len(chiefs) > 1 or kind not in ("chief", "worker"):
        raise _no_cluster(f"jobs {', '.join(map(str, said['cluster']))} and the task {kind!r}")
    return _checked(hosts, index) if len(hosts) > 1 else None


def expand_nodes(text: str) -> list[str]:
    """The nodes of a SLURM list: 'gpu[01-03,7],login' is gpu01, gpu02, gpu03, gpu7, login.

    A name may hold several pairs of brackets, the last of which runs fastest; numbers keep their leading zeros.

    Raises:
        UsageError: It is no such list, or has more than 4,096 nodes.
    """
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text):
        found = [""]
        for plain, ranges in re.findall(r"([^\[\]]+)|\[([^\[\]]*)\]", part):
            ends = [plain] if plain else _numbers(ranges, text)
            if len(found) * len(ends) + len(names) > _MOST:
                raise _no_nodes(text)
            found = [name + end for name in found for end in ends]
        names += found
    plain = re.sub(r"\[[^\[\]]*\]", "0", text)
    if not re.fullmatch(r"[A-Za-z0-9._-]+(?:,[A-Za-z0-9._-]+)*", plain):
        raise _no_nodes(text)
    return names


def _numbers(ranges: str, text: str) -> list[str]:
    """'01-03,7' as 01, 02, 03, 7."""
    found: list[str] = []
    for part in ranges.split(","):
        match = re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if match is None or not 0 <= last - first < _MOST:
            raise _no_nodes(text)
        found += [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]
    return found


def _from_hosts(options: WorkerOptions) -> Cluster:
    hosts = tuple(host.strip() for host in str(options.worker_hosts).split(","))
    if options.worker_index is None or options.worker_port is not None:
        raise UsageError(
            f"--worker-hosts needs --worker-index alone beside it. Expected 0 to {len(hosts) - 1}, received "
            f"{options.worker_index} and --worker-port {options.worker_port}. Give each process its own index."
        )
    return _checked(hosts, options.worker_index)


def _from_slurm(options: WorkerOptions, variables: Mapping[str, str]) -> Cluster:
    """The tasks of a step that srun has started, block by block: all of the first node, then of the second.

    SLURM_STEP_NODELIST and SLURM_STEP_TASKS_PER_NODE say where they are, SLURM_PROCID which one this is.
    """
    if options.worker_index is not None:
        raise UsageError(
            f"--worker-index says what SLURM says already. Expected it without --worker-hosts {SLURM}, received "
            f"{options.worker_index}. Leave it out."
        )
    names = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID")
    missing = [name for name in names if not variables.get(name)]
    if missing:
        raise UsageError(
            f"This process was not started by srun. Expected {', '.join(names)} in the environment, received no "
            f"{', '.join(missing)}. Start it as 'srun aodnet fit ... --worker-hosts {SLURM}'."
        )
    nodes, port = expand_nodes(variables[names[0]]), options.worker_port or 29400
    counts = _tasks(variables[names[1]], len(nodes))
    hosts = tuple(f"{node}:{port + task}" for node, count in zip(nodes, counts, strict=True) for task in range(count))
    index = int(variables[names[2]]) if variables[names[2]].isdecimal() else -1
    found = _checked(hosts, index)
    here = variables.get("SLURMD_NODENAME")
    expected = found.hosts[index].rpartition(":")[0]
    if here and here != expected:
        raise UsageError(
            f"The tasks are not dealt block by block. Expected task {index} on {expected}, received it on {here}. "
            "Start them with srun --distribution=block."
        )
    return found


def _tasks(text: str, nodes: int) -> list[int]:
    """'2(x3),1' as 2, 2, 2, 1: how many tasks each node has."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:\(x(\d{1,4})\))?", part.strip())
        found += [int(match[1])] * int(match[2] or 1) if match else [0]
    if len(found) != nodes or not all(found) or sum(found) > _MOST:
        raise UsageError(
            f"SLURM_STEP_TASKS_PER_NODE cannot be read. Expected numbers of tasks of {nodes} nodes, as '2(x3),1', "
            f"received '{text}'. Pass --worker-hosts with addresses."
        )
    return found


def _checked(hosts: tuple[str, ...], index: int) -> Cluster:
    for host in hosts:
        match = _ADDRESS.fullmatch(host) if isinstance(host, str) else None
        if match is None or not 0 < int(match[1]) < 65536:
            raise UsageError(
                f"A worker has no address. Expected host:port with a port of 1 to 65535, received {host!r}. Correct "
                f"--worker-hosts or {_VARIABLE}."
            )
    if len(set(hosts)) != len(hosts) or not 0 <= index < len(hosts):
        raise UsageError(
            f"The workers cannot be told apart. Expected different addresses and an index of 0 to {len(hosts) - 1}, "
            f"received {', '.join(hosts)} and index {index}. Correct --worker-hosts, --worker-index or {_VARIABLE}."
        )
    return Cluster(hosts, index)


def _no_cluster(received: str) -> UsageError:
    return UsageError(
        f"{_VARIABLE} names no cluster that can train together. Expected JSON with addresses of workers and a task, "
        f"received {received}. Correct it, or unset it."
    )


def _no_nodes(text: str) -> UsageError:
    return UsageError(
        f"A list of nodes cannot be read. Expected one like 'gpu[01-03,7],login' of at most {_MOST} nodes, received "
        f"{text[:200]!r}. Pass --worker-hosts with addresses."
    )
