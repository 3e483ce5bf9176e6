"""Every class of the package that keeps a contract, with the arguments that a test gives it."""

import inspect

from lit_knn.cli import class_names
from lit_knn.storage.kinds import is_ours


def derived(contract):
    """Return the concrete classes of the package that derive from one, by name."""
    found = {part.__name__: part for part in class_names.derived(contract) if is_ours(part)}
    return {name: part for name, part in sorted(found.items()) if not inspect.isabstract(part)}


def examples(contract, given):
    """Return one object of each class; `given` has the arguments of those that need some, or smaller ones."""
    found = derived(contract)
    assert given.keys() <= found.keys(), f"there is no class {given.keys() - found.keys()}"
    for name, part in found.items():
        required = {key for key, value in inspect.signature(part).parameters.items() if value.default is value.empty}
        assert required <= given.get(name, {}).keys(), f"{name} needs an example of {required} in {__name__}"
    return {name: part(**given.get(name, {})) for name, part in found.items()}
