"""hazegen publish: a finished dataset as a W&B artifact, whole or not at all."""

import dataclasses
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from hazegen import artifacts, card, manifest, stores, tracking
from hazegen.errors import StoreError, UsageError, VerifyError
from hazegen.manifest import INPUTS, MANIFEST, PLAN, Manifest
from hazegen.pair_table import log_pairs
from hazegen.references import add_references, check_reference
from hazegen.tracking import Choice, Say, Session
from hazegen.verify import verify

# W&B's 128, less '-photos', which the artifact beside it adds.
LONGEST_NAME = 121
# What is sent beside the shards. Nothing else that lies in the folder is.
COMPANIONS = (MANIFEST, INPUTS, PLAN, *card.FILES)


@dataclass(frozen=True)
class PublishOptions:
    """Where a dataset is published, and how.

    Attributes:
        project: W&B project.
        name: Name of the artifact.
        entity: W&B user or team [default: the key's own].
        alias: Aliases of this version beside 'latest', with commas between them.
        reference: Folder where the same shards lie already, s3://, gs:// or a mounted one: the artifact
            points at them and they are not sent.
        mode: online sends; offline keeps all for 'wandb sync'; auto is online with a key and a server
            that answers, else offline; dry-run only verifies and computes the digest.
        patience_s: Give up when nothing moved for so long [s].
    """

    project: str
    name: str
    entity: str | None = None
    alias: str = ""
    reference: str | None = None
    mode: Literal["auto", "online", "offline", "dry-run"] = "auto"
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        names = [("name", self.name), *(("alias", alias) for alias in self.aliases())]
        for option, text in names:
            if not tracking.NAME.fullmatch(text) or (option == "alias" and re.fullmatch(r"latest|v\d+", text)):
                raise UsageError(
                    f"--{option} cannot be used. Expected letters, digits, '_', '-' and '.', and no alias that W&B "
                    f"gives itself (latest, v0, v1 ...), received {text!r}. Change --{option}."
                )
        if len(self.name) > LONGEST_NAME:
            raise UsageError(
                f"--name is too long. Expected at most {LONGEST_NAME} characters, received {len(self.name)}. "
                "Shorten it."
            )
        tracking.check_place(self.project, self.entity)
        if self.reference is not None:
            check_reference(self.reference)
        if not self.patience_s > 0.0:
            raise UsageError(f"--patience-s is out of range. Expected a number above 0, received {self.patience_s}.")

    def aliases(self) -> list[str]:
        return [alias.strip() for alias in self.alias.split(",") if alias.strip()]


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        digest: SHA-256 of the dataset: of the names and digests of its shards.
        artifact_digest: W&B's own digest of all files; equal content gives no new version.
        bytes, files: Size and number of the files of the artifact; those that it refers to are counted apart.
        referred_bytes: Size of the shards that are not sent but pointed at.
        address: entity/project/name:version, where it was sent.
        unchanged: Whether W&B had this content already, so that no new version was made.
    """

    digest: str
    artifact_digest: str
    bytes: int
    files: int
    referred_bytes: int
    address: str = ""
    unchanged: bool = False


def choose(options: PublishOptions) -> Choice:
    """Decides where to publish, before any work.

    Raises:
        UsageError: --mode online without a key that the server accepts, or WANDB_MODE is disabled.
        StoreError: --mode online, and the server does not answer.
    """
    if options.mode == "dry-run":
        return Choice("off", "nothing is sent or kept")
    choice = tracking.choose_mode(options.mode)
    if choice.mode == "off":
        raise UsageError(
            f"W&B is switched off. Expected a place to publish to, received: {choice.reason}. Unset it, or pass --mode "
            "online or offline."
        )
    if options.mode == "online" and choice.mode != "online":
        raise StoreError(
            f"W&B cannot be reached. Expected an answer, received: {choice.reason}. Try again later, or pass --mode "
            "offline and send it with 'wandb sync'."
        )
    return choice


def publish(folder: Path, options: PublishOptions, choice: Choice, say: Say) -> Published:
    """Verifies the dataset in `folder` and publishes it as an artifact.

    All else comes after it: of an artifact that was not sent whole nothing is to be found but a run
    marked as failed. To the shards of a dataset in a store it points where they are, as --reference does.

    Raises:
        VerifyError: The dataset is not what its manifest says; nothing was sent.
        StoreError: The server or the store failed; the same command can be given again.
    """
    # W&B's files of a dataset in a store lie in the current folder.
    here = Path.cwd() / folder.name if stores.is_remote(folder) else folder
    root = tracking.root_beside(here) if choice.mode != "off" else here
    known = verified(folder)
    folder = folder.resolve()  # the artifact's paths are relative to it, and name nothing that leads here
    if stores.is_remote(folder) and options.reference is None:
        options = dataclasses.replace(options, reference=str(folder))
    with tempfile.TemporaryDirectory() as scratch, tracking.environment(Path(scratch)):
        kept = Path(scratch) if choice.mode == "off" else root / "wandb" / f"{options.name}-{manifest.digest(known)}"
        beside = fetch_companions(folder, kept) if stores.is_remote(folder) else folder
        artifact = build_artifact(folder, known, options, beside)
    entries = artifact.manifest.entries.values()
    sizes = [(entry.ref is None, entry.size or 0) for entry in entries]
    result = Published(
        digest=manifest.digest(known),
        artifact_digest=artifact.digest,
        files=sum(sent for sent, _ in sizes),
        bytes=sum(size for sent, size in sizes if sent),
        referred_bytes=sum(size for sent, size in sizes if not sent),
    )
    say(f"digest      {result.digest} (shards), {result.artifact_digest} (artifact)")
    say(f"to send     {result.files} files, {result.bytes / 1e6:,.1f} MB; "
        f"referred to, not sent: {result.referred_bytes / 1e6:,.1f} MB")  # fmt: skip
    if choice.mode == "off":
        return result
    session = tracking.open_session(
        root,
        choice,
        say,
        project=options.project,
        entity=options.entity,
        name=f"publish-{options.name}",
        job_type="publish",
        config={"dataset": facts(known)},
    )
    if session is None:
        raise StoreError("W&B could not be started. Expected a run to log to, received none (see above). Try again.")
    result = _log(session, artifact, folder, beside, options, result, say)
    if beside != folder and session.online:
        shutil.rmtree(beside)
    return result


def _log(
    session: Session,
    artifact: Any,
    folder: Path,
    beside: Path,
    options: PublishOptions,
    result: Published,
    say: Say,
) -> Published:
    """Sends the artifact, or keeps it for 'wandb sync'; then logs what it was made of, and its pairs."""
    aliases = ["latest", *options.aliases()]
    try:
        if options.mode == "online" and not session.online:
            raise StoreError("W&B could not open a run online (see above). Nothing was sent. Try again later.")
        if session.online:
            artifacts.send_artifact(session, artifact, aliases, options.patience_s)
            result = dataclasses.replace(
                result, address=artifacts.address_of(artifact), unchanged=_is_old(session, artifact)
            )
        else:
            artifacts.log_artifact(session, artifact, aliases)
    except BaseException:
        tracking.close_session(session, 1, lambda _: None)
        raise
    try:
        photos = _photos(beside, options.name, artifact.metadata)
        artifacts.log_artifact(session, photos, ["latest"], used=True)
        log_pairs(session, folder, options.name)
    except Exception as error:  # the dataset is published: this only shows it
        say(f"warning: photos and table of pairs could not be logged: {tracking.describe(error)}")
    tracking.close_session(session, 0, say)
    return result


def verified(folder: Path) -> Manifest:
    """The manifest of a dataset that is in all what it says.

    Raises:
        VerifyError: It is not, or its card is missing.
    """
    found = verify(folder)
    bad = found.problems() + [f"{name}: missing" for name in found.card]
    if bad:
        raise VerifyError(
            f"'{folder}' cannot be published. Expected a sound dataset with its card, received {'; '.join(bad[:5])}. "
            f"Run hazegen verify {folder}, and make it again, or hazegen card {folder} where only the card is missing."
        )
    return manifest.load(folder)


def fetch_companions(folder: Path, target: Path) -> Path:
    """Copies of what lies beside the shards in a store: W&B reads the files that it sends, now or when it syncs."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COMPANIONS:
        with (folder / name).open("rb") as source, (target / name).open("wb") as copy:
            shutil.copyfileobj(source, copy)
    return target


def build_artifact(folder: Path, known: Manifest, options: PublishOptions, beside: Path | None = None) -> Any:
    """The artifact, with the digest of each file, and no file copied: 'immutable' is wandb's word for that.

    Args:
        beside: Folder of what lies beside the shards, where it is another one.
    """
    beside = folder if beside is None else beside
    artifact = tracking.load_wandb().Artifact(
        options.name,
        type="dataset",
        metadata=facts(known),
        description=(beside / card.README).read_text(encoding="utf-8").split("---\n", 2)[-1].strip(),
    )
    paths = [beside / name for name in COMPANIONS]
    if options.reference is None:
        paths += [folder / shard.name for shard in known.shards]
    else:
        add_references(artifact, check_reference(options.reference), folder, known.shards)
    total = sum(path.stat().st_size for path in paths)
    with tqdm(total=total, unit="B", unit_scale=True, desc="digesting", disable=None) as bar:
        for path in paths:
            entry = artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)
            bar.update(entry.size or 0)
    return artifact


def _photos(beside: Path, name: str, told: dict[str, Any]) -> Any:
    """What the dataset was made of, as the artifact that the publishing run has used: names and fates, no photo."""
    about = {"about": told["about"], "inputs": told["inputs"], "reading": told["reading"]}
    artifact = tracking.load_wandb().Artifact(f"{name}-photos", type="photos", metadata=about)
    for file in (INPUTS, PLAN):
        artifact.add_file(str(beside / file), name=file, policy="immutable", skip_cache=True)
    return artifact


def facts(known: Manifest) -> dict[str, Any]:
    """What W&B shows of a dataset and filters by: its manifest, less the list of shards."""
    told = dataclasses.asdict(known)
    shards = told.pop("shards")
    return told | {
        "dataset_digest": manifest.digest(known),
        "shards": len(shards),
        "bytes": sum(shard["bytes"] for shard in shards),
    }


def _is_old(session: Session, artifact: Any) -> bool:
    """Whether another run made this version: W&B gives equal content no second one."""
    try:
        maker = artifact.logged_by()
    except Exception:  # a line of the summary, no more
        return False
    return maker is not None and maker.id != session.run.id
