"""Derive the hashtags of classes from the synonyms of WordNet, as timm's package carries them.

python tools/derive_hashtags.py lit_knn/data/curation/imagenet_hashtags.json
python tools/derive_hashtags.py animals.json --classes animals.txt    # WordNet ids, one per line, of ImageNet-22k's
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from lit_knn.data.curation.hashtags import canonical
from lit_knn.errors import UserError, one_sentence
from lit_knn.storage.atomic import atomic_write

NOTICE = """\
Derived from WordNet 3.0 by tools/derive_hashtags.py: the canonical form of each synonym of each class. \
WordNet Release 3.0. This software and database is being provided to you, the LICENSEE, by Princeton University under \
the following license. By obtaining, using and/or copying this software and database, you agree that you have read, \
understood, and will comply with these terms and conditions.: Permission to use, copy, modify and distribute this \
software and database and its documentation for any purpose and without fee or royalty is hereby granted, provided \
that you agree to comply with the following copyright notice and statements, including the disclaimer, and that the \
same appear on ALL copies of the software, database and documentation, including modifications that you make for \
internal use or for distribution. WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. THIS \
SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR \
IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES OF \
MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR \
DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS. The name of Princeton \
University or Princeton may not be used in advertising or publicity pertaining to distribution of the software and/or \
database. Title to copyright in this software, database and any associated documentation shall at all times remain \
with Princeton University and LICENSEE agrees to preserve same."""


def derive(classes: Iterable[str], synonyms: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the classes of each canonical synonym, both sorted.

    Raises:
        UserError: If WordNet has no such class.
    """
    tags: dict[str, set[str]] = {}
    for synset in classes:
        if synset not in synonyms:
            raise UserError(f"{synset} is none of timm's {len(synonyms):,} WordNet ids, which look like n01440764")
        for synonym in synonyms[synset]:
            tags.setdefault(canonical(synonym), set()).add(synset)
    return {tag: sorted(tags[tag]) for tag in sorted(tags) if tag}


def text(tags: dict[str, list[str]]) -> str:
    """Return the file: JSON with one hashtag per line."""
    lines = ",\n".join(f"  {json.dumps(tag, ensure_ascii=False)}: {json.dumps(ids)}" for tag, ids in tags.items())
    return f'{{\n "notice": {json.dumps(NOTICE)},\n "tags": {{\n{lines}\n }}\n}}\n'


def main(args: list[str] | None = None) -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", type=Path, help="WordNet ids, one per line; ImageNet's 1,000 if not given")
    options = parser.parse_args(args)
    info = files("timm") / "data" / "_info"
    lines = (info / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    synonyms = {synset: words.split(", ") for synset, words in (line.split("\t") for line in lines)}
    try:
        source = options.classes if options.classes else info / "imagenet_synsets.txt"
        classes = source.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--classes {options.classes} cannot be read ({error})") from error
    tags = derive(classes, synonyms)
    with atomic_write(options.out) as unfinished:
        unfinished.write_text(text(tags), encoding="utf-8")
    shared = sum(len(ids) > 1 for ids in tags.values())
    print(f"{options.out}: {len(tags):,} hashtags of {len(set(classes)):,} classes, {shared} of them of more than one")


if __name__ == "__main__":
    with one_sentence("error"):
        main()
