"""Decides where each module is, out of what was read: no file is read here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netfilter_exporter.kernel.modules.evidence import Evidence
from netfilter_exporter.kernel.modules.history import MERGES
from netfilter_exporter.kernel.modules.lists import Loaded
from netfilter_exporter.kernel.modules.model import Module, ModuleState


class Judge:
    """Decides module by module.

    `loaded` is /proc/modules; `functional` are names whose own file below /proc exists;
    `proven` are names that sysfs or the kernel's symbols prove to be built in.
    """

    def __init__(
        self,
        evidence: Evidence,
        loaded: Mapping[str, Loaded],
        functional: Collection[str],
        proven: Collection[str] = (),
    ) -> None:
        self._evidence = evidence
        self._loaded = {name: entry for name, entry in loaded.items() if entry.live}
        self._functional = functional
        self._proven = proven

    def module(self, name: str) -> Module:
        """Return what is known of `name`."""
        if name in self._loaded:
            return Module(name, ModuleState.LOADED, references=self._loaded[name].references)
        successor = self._merged_into(name)
        if successor:
            return Module(name, ModuleState.MERGED, successor)
        if not self._is_builtin(name) and name in (self._evidence.depends or {}):
            return self._loadable(name)
        return Module(name, self._state(name))

    def _state(self, name: str) -> ModuleState:
        evidence = self._evidence
        option = evidence.option(name)
        if self._is_builtin(name):
            return ModuleState.BUILTIN
        listed = evidence.depends is not None and evidence.builtin is not None
        if option == "n" or listed:
            return ModuleState.ABSENT
        if option == "m" and (evidence.depends is not None or evidence.directory is False):
            return ModuleState.ABSENT
        return ModuleState.UNKNOWN

    def _is_builtin(self, name: str) -> bool:
        # The file of a retired module shows its code, which usually is in the successor.
        retired = name in MERGES and not MERGES[name].strict
        return (
            name in (self._evidence.builtin or ())
            or self._evidence.option(name) == "y"
            or name in self._proven
            or (name in self._functional and not retired)
        )

    def _merged_into(self, name: str) -> str:
        """Return the module that has the code of the retired `name`, or an empty string."""
        evidence = self._evidence
        if name in (evidence.depends or {}) or name in (evidence.builtin or ()):
            return ""
        if name in evidence.aliases:
            return evidence.aliases[name]
        merge = MERGES.get(name)
        if merge is None or not self._known(merge.successor):
            return ""
        if merge.strict:
            direct = evidence.option(name) == "y" or name in self._functional
            return merge.successor if direct else ""
        if evidence.mentions(name):
            return ""  # this kernel still has a separate option for it
        proof = self._uses(merge.successor, merge.uses)
        if proof is None:
            readable = evidence.options is not None or evidence.depends is not None
            proof = readable or name in self._functional
        return merge.successor if proof else ""

    def _known(self, name: str) -> bool:
        return (
            name in self._loaded
            or name in (self._evidence.depends or {})
            or self._evidence.option(name) == "m"
            or self._is_builtin(name)
        )

    def _uses(self, user: str, used: str) -> bool | None:
        """Return whether module `user` needs module `used`; None where no list shows either."""
        if used in self._loaded and user in self._loaded:
            return user in self._loaded[used].users
        depends = self._evidence.depends or {}
        if used in depends and user in depends:
            return used in depends[user]
        return None

    def _loadable(self, name: str) -> Module:
        """Return a module that modules.dep lists: available, or what it or its needs lack."""
        evidence = self._evidence
        needed = [n for n in (name, *sorted((evidence.depends or {})[name])) if self._lacks(n)]
        for state, stopped in (
            (ModuleState.ABSENT, evidence.files.missing),
            (ModuleState.BLOCKED, evidence.stops),
            (ModuleState.UNSIGNED, evidence.files.unsigned),
        ):
            causes = tuple(need for need in needed if need in stopped)
            if state is ModuleState.BLOCKED:
                causes = tuple(c for c in causes if self._is_stopped(c, of=name))
            if causes:
                return Module(name, state, causes=causes)
        return Module(name, ModuleState.AVAILABLE)

    def _is_stopped(self, cause: str, *, of: str) -> bool:
        """Return whether `cause` cannot be loaded for `of`: its aliases matter to itself alone."""
        return cause == of or any(not rule.of_alias for rule in self._evidence.stops[cause])

    def _lacks(self, name: str) -> bool:
        return name not in self._loaded and not self._is_builtin(name)
