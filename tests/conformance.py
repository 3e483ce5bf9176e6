"""Every class of the package that keeps a contract, with the arguments that a test gives it."""

import inspect


def derived(contract):
    """Return the concrete classes of the package that derive from one, by name."""
    below = contract.__subclasses__()
    ours = {part.__name__: part for part in below if part.__module__.startswith("lit_knn.")}
    found = {name: part for name, part in ours.items() if not inspect.isabstract(part)}
    for part in below:
        found |= derived(part)
    return dict(sorted(found.items()))


def examples(contract, given):
    """Return one object of each class; `given` has the arguments of those that need some, or smaller ones."""
    found = derived(contract)
    assert given.keys() <= found.keys(), f"there is no class {given.keys() - found.keys()}"
    for name, part in found.items():
        required = {key for key, value in inspect.signature(part).parameters.items() if value.default is value.empty}
        assert required <= given.get(name, {}).keys(), f"{name} needs an example of {required} in {__name__}"
    return {name: part(**given.get(name, {})) for name, part in found.items()}
