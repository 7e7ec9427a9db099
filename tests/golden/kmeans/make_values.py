# Objectives of scikit-learn 1.7.2's KMeans (Lloyd, f64) on fixed rows: after 1, 2, ... iterations from given first centres, the labels after
# the last of them, and ten runs from its own k-means++.
#
#   pip install scikit-learn==1.7.2 numpy==2.3.4 safetensors==0.6.2 && python make_values.py
import numpy as np
from safetensors.numpy import save_file
from sklearn.cluster import KMeans

out = {}
for name, n, c, k, clouds, unit in [("unit", 800, 16, 12, 20, True), ("plain", 500, 5, 7, 4, False), ("wide", 600, 64, 40, 25, True)]:
    random = np.random.default_rng(len(name) * 1000 + n)
    middles = random.normal(size=(clouds, c))
    rows = middles[random.integers(clouds, size=n)] + 0.6 * random.normal(size=(n, c))
    if unit:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows.astype(np.float32)
    first = rows[random.choice(n, k, replace=False)]
    x = rows.astype(np.float64)
    objectives = []
    for iterations in range(1, 9):
        run = KMeans(k, init=first.astype(np.float64), n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(x)
        objectives.append(run.inertia_)
    out[name + ".rows"], out[name + ".first"] = rows, first
    out[name + ".objectives"], out[name + ".labels"] = np.array(objectives), run.labels_.astype(np.int32)
    out[name + ".runs"] = np.array([KMeans(k, n_init=1, max_iter=100, tol=0, random_state=s).fit(x).inertia_ for s in range(10)])
save_file(out, "kmeans.safetensors")
