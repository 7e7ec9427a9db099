# Values of pycocoevalcap 1.2 (PyPI) for cases.json: BLEU, ROUGE-L and CIDEr of captions whose words stand between single
# blanks, so that no tokenizer (theirs needs Java) comes in between.
#
#   pip install pycocoevalcap==1.2 && python make_values.py
import json
import os
import random
import sys

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

random.seed(7)
words = "a the man woman dog cat on in with red blue horse table two sits stands park rides brown small 's n't street".split()


def sentence():
    return " ".join(random.choice(words) for _ in range(random.choice([1, 2, 4, 6, 8, 11, 14])))


def altered(s):
    parts = s.split()
    for _ in range(random.choice([0, 1, 2, 4])):
        parts[random.randrange(len(parts))] = random.choice(words)
    return " ".join(parts[: random.choice([len(parts), max(1, len(parts) - 2)])])


cases = []
for pictures in [1, 2, 3, 5, 12, 40]:
    references = {i: [sentence() for _ in range(random.choice([1, 2, 5]))] for i in range(pictures)}
    captions = {i: [random.choice([altered(references[i][0]), sentence(), ""] if i % 7 == 6 else [altered(references[i][0]), sentence()])] for i in references}
    sys.stdout = open(os.devnull, "w")
    bleu = Bleu(4).compute_score(references, captions)[0]
    sys.stdout = sys.__stdout__
    rouge, rouges = Rouge().compute_score(references, captions)
    cider, ciders = Cider().compute_score(references, captions)
    cases.append({"captions": [captions[i][0] for i in references], "references": [references[i] for i in references],
                  "bleu": bleu, "rouge": float(rouge), "rouges": [float(r) for r in rouges],
                  "cider": float(cider), "ciders": [float(c) for c in ciders]})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.json"), "w") as f:
    f.write(json.dumps({"made_with": "pycocoevalcap 1.2", "cases": cases}) + "\n")
